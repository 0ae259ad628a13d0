//! The ready configuration of bearerd in front of the neighbours.

use serde_json::json;

use super::{CLIENT_ID, CLIENT_SECRET, Neighbours, REFRESH_TOKEN, USER_TOKEN};

/// A credential and a route for each neighbour at this origin. The secrets stand in it, since they are no
/// secrets.
pub fn configuration(neighbours: &Neighbours, origin: &str) -> String {
    let key = neighbours.private_key();
    let key_file = json!({"type": "service_account", "client_email": "demo@project.example",
                          "private_key_id": "sandbox-1", "private_key": key});
    format!(
        r#"
# Zoho: a refresh token that stays, and ten tokens in ten minutes.
[credentials.zoho]
preset = "zoho"
base_url = "{origin}/zoho"
client_id = "{CLIENT_ID}"
client_secret = {{ value = "{CLIENT_SECRET}" }}
refresh_token = {{ value = "{REFRESH_TOKEN}" }}

# A GitHub App: an assertion signed with a key of its own.
[credentials.github-app]
preset = "github-app"
base_url = "{origin}/github-app"
client_id = "{CLIENT_ID}"
installation_id = "12345678"
private_key = {{ value = '''
{key}''' }}

# A service account of Google: the same, as a grant.
[credentials.google-service-account]
preset = "google-service-account"
base_url = "{origin}/google-service-account"
key_file = {{ value = '''
{key_file}''' }}
scope = "https://www.googleapis.com/auth/cloud-platform"

# Cashfree: a short token that is bound to the address.
[credentials.cashfree-payouts]
preset = "cashfree-payouts"
base_url = "{origin}/cashfree-payouts"
client_id = "{CLIENT_ID}"
client_secret = {{ value = "{CLIENT_SECRET}" }}

# ABDM: a session, and a person's token beside it.
[credentials.abdm]
preset = "abdm"
base_url = "{origin}/abdm"
client_id = "{CLIENT_ID}"
client_secret = {{ value = "{CLIENT_SECRET}" }}
user_token = {{ value = "{USER_TOKEN}" }}

# Keycloak: client credentials, as OAuth has them.
[credentials.keycloak]
preset = "keycloak"
base_url = "{origin}/keycloak"
realm = "demo"
client_id = "{CLIENT_ID}"
client_secret = {{ value = "{CLIENT_SECRET}" }}

# A device: a person types a code (`bearerd login device`), and the refresh token is replaced at each renewal.
[credentials.device]
flow = "oauth2"
grant = "device_code"
token_url = "{origin}/device/token"
device_authorization_url = "{origin}/device/authorize"
client_id = "{CLIENT_ID}"
client_secret = {{ value = "{CLIENT_SECRET}" }}
client_auth = "post"
{}"#,
        routes(origin)
    )
}

fn routes(origin: &str) -> String {
    let route = |name: &&str| {
        format!(
            "\n[routes.{name}]\npath = \"/{name}\"\nupstream = \"{origin}/{name}\"\ncredential = \"{name}\"\n"
        )
    };
    super::NAMES.iter().map(route).collect()
}
