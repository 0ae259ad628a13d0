//! The vendors, a line each.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CLIENT_ID, CLIENT_SECRET, Given, No, USER_TOKEN};
use crate::sandbox::Answer;
use crate::sandbox::neighbours::assertion::Rules;

const HOUR: Duration = Duration::from_secs(3600);

/// The names, which are the first segments of paths.
pub const NAMES: [&str; 7] =
    ["zoho", "github-app", "google-service-account", "cashfree-payouts", "abdm", "keycloak", "device"];

/// One vendor.
pub(super) struct Neighbour {
    pub(super) name: &'static str,
    pub(super) services: &'static [Service],
    /// How long tokens live.
    pub(super) lifetime: Duration,
    /// A token is good from the address alone that asked for it.
    pub(super) bound_to_address: bool,
    /// A refresh token works once.
    pub(super) rotates: bool,
    /// The field that a token is shown in, and what stands before it there.
    pub(super) presents: (&'static str, &'static str),
    /// What else has to be on each call.
    pub(super) beside: &'static [(&'static str, Want)],
    /// How the token service says no.
    pub(super) refusal: fn(No) -> Answer,
    /// How the data API says that a token is dead.
    pub(super) dead: fn() -> Answer,
}

/// An endpoint that gives tokens.
pub(super) struct Service {
    pub(super) path: &'static str,
    pub(super) headers: &'static [(&'static str, Want)],
    pub(super) content: Content,
    /// So many requests in a time; more are refused.
    pub(super) limit: Option<(usize, Duration)>,
    /// It gives no token, but the code of a device.
    pub(super) begins_consent: bool,
    pub(super) answer: fn(&Given) -> Answer,
}

/// What has to be in a body, for each value of `grant_type`; for the empty one, whatever that is.
type Wants = &'static [(&'static str, &'static [(&'static str, Want)])];

/// What a request to a token service holds.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Nothing,
    Form(Wants),
    Json(Wants),
}

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    /// This text.
    Is(&'static str),
    /// A UUID.
    Identifier,
    /// A time (RFC 3339).
    Time,
    /// The client's name and secret (RFC 7617).
    Basic,
    /// An assertion that the client signed (RFC 7523).
    Assertion(Rules),
    /// A refresh token that was granted.
    RefreshToken,
    /// The code of a device.
    DeviceCode,
}

impl Content {
    /// What has to be there with this `grant_type`.
    pub(super) fn wants(self, kind: &str) -> &'static [(&'static str, Want)] {
        let (Self::Form(wants) | Self::Json(wants)) = self else { return &[] };
        let of = |wanted: &str| wants.iter().find(|(kind, _)| *kind == wanted).map(|(_, fields)| *fields);
        of(kind).or_else(|| of("")).or_else(|| wants.first().map(|(_, fields)| *fields)).unwrap_or(&[])
    }

    /// All names that may be there.
    pub(super) fn names(self) -> Vec<&'static str> {
        let (Self::Form(wants) | Self::Json(wants)) = self else { return Vec::new() };
        wants.iter().flat_map(|(_, fields)| fields.iter().map(|(name, _)| *name)).chain(["scope"]).collect()
    }
}

/// The vendor of this name.
pub(super) fn find(name: &str) -> Option<&'static Neighbour> {
    NEIGHBOURS.iter().find(|neighbour| neighbour.name == name)
}

const CLIENT: [(&str, Want); 2] =
    [("client_id", Want::Is(CLIENT_ID)), ("client_secret", Want::Is(CLIENT_SECRET))];

const REFRESH: &[(&str, Want)] =
    &[("grant_type", Want::Is("refresh_token")), ("refresh_token", Want::RefreshToken), CLIENT[0], CLIENT[1]];

/// A grant of RFC 7523, section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The grant of RFC 8628, section 3.4.
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

static NEIGHBOURS: [Neighbour; NAMES.len()] = [
    Neighbour {
        services: &[Service {
            content: Content::Form(&[("", REFRESH)]),
            limit: Some((10, Duration::from_secs(600))),
            ..oauth("/oauth/v2/token")
        }],
        presents: ("authorization", "Zoho-oauthtoken "),
        refusal: |no| match no {
            No::Limit => Answer::json(
                400,
                &json!({"error": "Access Denied", "error_description": "too many requests"}),
            ),
            No::Grant => Answer::json(200, &json!({"error": "invalid_code"})),
            No::Client => Answer::json(200, &json!({"error": "invalid_client"})),
            No::Request | No::Pending => Answer::json(200, &json!({"error": "invalid_request"})),
        },
        ..usual("zoho", HOUR)
    },
    Neighbour {
        services: &[Service {
            headers: &[
                ("accept", Want::Is("application/vnd.github+json")),
                ("x-github-api-version", Want::Is("2022-11-28")),
                (
                    "authorization",
                    Want::Assertion(Rules {
                        issuer: CLIENT_ID,
                        audience_ends: "",
                        longest: Duration::from_secs(600),
                    }),
                ),
            ],
            content: Content::Nothing,
            answer: |given| {
                let ends = given.now.saturating_add(given.lifetime).unwrap_or(given.now);
                Answer::json(
                    201,
                    &json!({"token": given.token, "expires_at": format!("{ends:.0}"), "permissions": {}}),
                )
            },
            ..oauth("/app/installations/12345678/access_tokens")
        }],
        refusal: |_| Answer::json(401, &json!({"message": "A JSON web token could not be decoded"})),
        dead: || Answer::json(401, &json!({"message": "Bad credentials"})),
        ..usual("github-app", HOUR)
    },
    Neighbour {
        services: &[Service {
            content: Content::Form(&[(
                "",
                &[
                    ("grant_type", Want::Is(JWT_BEARER)),
                    (
                        "assertion",
                        Want::Assertion(Rules {
                            issuer: "demo@project.example",
                            audience_ends: "/google-service-account/token",
                            longest: HOUR,
                        }),
                    ),
                ],
            )]),
            ..oauth("/token")
        }],
        ..usual("google-service-account", HOUR)
    },
    Neighbour {
        services: &[Service {
            headers: &[("x-client-id", Want::Is(CLIENT_ID)), ("x-client-secret", Want::Is(CLIENT_SECRET))],
            content: Content::Nothing,
            answer: |given| {
                let ends = given.now.as_second().saturating_add_unsigned(given.lifetime.as_secs());
                let data = json!({"token": given.token, "expiry": ends});
                Answer::json(
                    200,
                    &json!({"status": "SUCCESS", "subCode": "200", "message": "Token generated", "data": data}),
                )
            },
            ..oauth("/payout/v1/authorize")
        }],
        bound_to_address: true,
        refusal: |_| said("401", "Invalid client id and client secret combination"),
        dead: || said("403", "Token is not valid"),
        ..usual("cashfree-payouts", Duration::from_secs(360))
    },
    Neighbour {
        services: &[Service {
            headers: &SESSION_FIELDS,
            content: Content::Json(&[(
                "",
                &[
                    ("clientId", Want::Is(CLIENT_ID)),
                    ("clientSecret", Want::Is(CLIENT_SECRET)),
                    ("grantType", Want::Is("client_credentials")),
                ],
            )]),
            answer: |given| {
                Answer::json(
                    202,
                    &json!({"accessToken": given.token, "expiresIn": given.lifetime.as_secs(), "tokenType": "bearer",
                            "refreshToken": "", "refreshExpiresIn": 0}),
                )
            },
            ..oauth("/api/hiecm/gateway/v3/sessions")
        }],
        beside: &[
            SESSION_FIELDS[0],
            SESSION_FIELDS[1],
            SESSION_FIELDS[2],
            ("x-auth-token", Want::Is(USER_TOKEN)),
        ],
        refusal: |_| {
            Answer::json(401, &json!({"error": {"code": "900901", "message": "Invalid Credentials"}}))
        },
        ..usual("abdm", Duration::from_secs(1200))
    },
    Neighbour {
        services: &[Service {
            headers: &[("authorization", Want::Basic)],
            content: Content::Form(&[("", &[("grant_type", Want::Is("client_credentials"))])]),
            ..oauth("/realms/demo/protocol/openid-connect/token")
        }],
        ..usual("keycloak", Duration::from_secs(300))
    },
    Neighbour {
        services: &[
            Service {
                content: Content::Form(&[("", &[CLIENT[0], CLIENT[1]])]),
                begins_consent: true,
                answer: |given| {
                    let code = given.further.as_deref();
                    Answer::json(
                        200,
                        &json!({"device_code": code, "user_code": "WDJB-MJHT", "expires_in": 600, "interval": 5,
                                "verification_uri": "https://device.example/"}),
                    )
                },
                ..oauth("/authorize")
            },
            Service {
                content: Content::Form(&[
                    ("refresh_token", REFRESH),
                    (
                        DEVICE_CODE,
                        &[
                            ("grant_type", Want::Is(DEVICE_CODE)),
                            ("device_code", Want::DeviceCode),
                            CLIENT[0],
                            CLIENT[1],
                        ],
                    ),
                ]),
                ..oauth("/token")
            },
        ],
        rotates: true,
        ..usual("device", HOUR)
    },
];

/// What each call of a gateway carries, with a token or to get one.
const SESSION_FIELDS: [(&str, Want); 3] =
    [("request-id", Want::Identifier), ("timestamp", Want::Time), ("x-cm-id", Want::Is("sbx"))];

/// A vendor without anything of its own (RFC 6750).
const fn usual(name: &'static str, lifetime: Duration) -> Neighbour {
    Neighbour {
        name,
        services: &[],
        lifetime,
        bound_to_address: false,
        rotates: false,
        presents: ("authorization", "Bearer "),
        beside: &[],
        refusal: |no| match no {
            No::Client => Answer::json(401, &error("invalid_client")),
            No::Grant => Answer::json(400, &error("invalid_grant")),
            No::Pending => Answer::json(400, &error("authorization_pending")),
            No::Request | No::Limit => Answer::json(400, &error("invalid_request")),
        },
        dead: || Answer::json(401, &error("invalid_token")),
    }
}

/// A token endpoint without anything of its own (RFC 6749, section 5.1).
const fn oauth(path: &'static str) -> Service {
    Service {
        path,
        headers: &[],
        content: Content::Nothing,
        limit: None,
        begins_consent: false,
        answer: |given| {
            let mut told = json!({"access_token": given.token, "expires_in": given.lifetime.as_secs().max(1),
                                  "token_type": "Bearer"});
            if let Some(next) = &given.further {
                told["refresh_token"] = next.as_str().into();
            }
            Answer::json(200, &told)
        },
    }
}

fn error(code: &str) -> Value {
    json!({ "error": code })
}

/// All is HTTP 200, and a text says how it went.
fn said(code: &str, message: &str) -> Answer {
    Answer::json(200, &json!({"status": "ERROR", "subCode": code, "message": message}))
}
