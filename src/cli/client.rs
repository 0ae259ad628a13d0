//! A client of the admin listener, for the commands that speak to a running bearerd.

use clap::Args;

use crate::cli::ConfigFile;

/// Which running bearerd is meant.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The configuration that names the admin listener.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The admin listener, such as 127.0.0.1:9180 or unix:/run/bearerd/admin.sock [default: $BEARERD_ADMIN, or the configuration's]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
}
