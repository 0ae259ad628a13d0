//! The ready configuration: bearerd in front of the four simulators.

use super::{Sandbox, Vendor, digilocker, nic, payhub, postbox, sahamati};

impl Sandbox {
    /// A credential that asks the portal for its token and takes it from this mailbox, and a route for it.
    pub fn portal_configuration(&self, mailbox: &str) -> String {
        let origin = self.station(Vendor::NicMa).origin();
        let (email, password) = (nic::EMAIL, nic::PASSWORD);
        let (mail_username, mail_password) = (postbox::USERNAME, postbox::PASSWORD);
        let sender = nic::SENDER.trim_end_matches('>').rsplit('<').next().unwrap_or_default();
        format!(
            r#"# Mission Antyodaya (NIC), without a person: bearerd logs in to the portal and reads the mail.
[credentials.nic-ma-portal]
preset = "nic-ma-portal"
base_url = "{origin}/nicauthserver"
email = {{ value = "{email}" }}
password = {{ value = "{password}" }}
mailbox = "{mailbox}"
mailbox_username = "{mail_username}"
mailbox_password = {{ value = "{mail_password}" }}
sender = "{sender}"

[routes.nic-ma-portal]
path = "/nic-ma-portal"
upstream = "{origin}"
credential = "nic-ma-portal"
"#
        )
    }

    /// A whole configuration file for this sandbox: the routes of each vendor on a listener at `listen`, the
    /// admin listener at `admin`. The secrets stand in it, since they are no secrets.
    pub fn configuration(&self, listen: &str, admin: &str) -> String {
        let origin = |vendor| self.station(vendor).origin();
        let nic_origin = origin(Vendor::NicMa);
        let sahamati_origin = origin(Vendor::Sahamati);
        let payhub_origin = origin(Vendor::Payhub);
        let digilocker_origin = origin(Vendor::Digilocker);
        let nic_token = nic::TOKEN;
        let (user, user_password) = (sahamati::USERNAME, sahamati::PASSWORD);
        let entity = sahamati::ENTITY;
        let (email, password) = (payhub::EMAIL, payhub::PASSWORD);
        let (client_id, client_secret) = (digilocker::CLIENT_ID, digilocker::CLIENT_SECRET);
        let refresh_token = digilocker::REFRESH_TOKEN;
        format!(
            r#"# bearerd in front of its own sandbox. The values are for demonstration: real secrets come
# from files, from systemd or from the environment.

[admin]
listen = "{admin}"

[listeners.app]
bind = "{listen}"

# Mission Antyodaya (NIC): a token that a person was mailed.
[credentials.nic-ma]
preset = "nic-ma"
token = {{ value = "{nic_token}" }}
expires = "never"

[routes.nic-ma]
path = "/nic-ma"
upstream = "{nic_origin}"
credential = "nic-ma"

# Sahamati: the user's token opens the entity's secret, which opens the entity's token.
[credentials.sahamati-user]
preset = "sahamati-user"
base_url = "{sahamati_origin}/iam/v1"
username = {{ value = "{user}" }}
password = {{ value = "{user_password}" }}

[credentials.sahamati-secret]
preset = "sahamati-secret"
base_url = "{sahamati_origin}/iam/v1"
entity_id = "{entity}"
user = {{ credential = "sahamati-user", output = "access_token" }}

[credentials.sahamati]
preset = "sahamati-entity"
base_url = "{sahamati_origin}/iam/v1"
entity_id = "{entity}"
secret = {{ credential = "sahamati-secret", output = "secret" }}

[routes.sahamati]
path = "/sahamati"
upstream = "{sahamati_origin}"
credential = "sahamati"

# PayHub: a login gives a token and a key.
[credentials.payhub]
preset = "payhub"
base_url = "{payhub_origin}"
email = {{ value = "{email}" }}
password = {{ value = "{password}" }}

[routes.payhub]
path = "/payhub"
upstream = "{payhub_origin}"
credential = "payhub"

# DigiLocker: OAuth 2.0, the refresh token is replaced at each renewal.
[credentials.digilocker]
preset = "digilocker"
base_url = "{digilocker_origin}/public"
grant = "refresh_token"
client_id = "{client_id}"
client_secret = {{ value = "{client_secret}" }}
refresh_token = {{ value = "{refresh_token}" }}

# Uploads carry a digest over the whole file.
[routes.digilocker-upload]
credential = "digilocker"
path = "/digilocker/oauth2/1/file/upload"
upstream = "{digilocker_origin}/public/oauth2/1/file/upload"
inject = "upload"
inject_body = "10MiB"

# What a partner asks in its own name carries no token.
[credentials.digilocker-partner]
preset = "digilocker-partner"
client_id = "{client_id}"
client_secret = {{ value = "{client_secret}" }}

[routes.digilocker-partner]
credential = "digilocker-partner"
path = "/digilocker-partner"
upstream = "{digilocker_origin}/public"

[routes.digilocker]
path = "/digilocker"
upstream = "{digilocker_origin}/public"
credential = "digilocker"
"#
        )
    }
}
