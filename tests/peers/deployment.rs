//! What `deploy/` holds, before the judges that systemd and Kubernetes bring.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::counterpart::peers;
use crate::support::bearerd;

/// The exposure that the unit must not pass, times ten.
const EXPOSURE: &str = "--threshold=20";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

#[test]
fn systemd_finds_the_unit_locked_up() {
    peers();
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", EXPOSURE]);
    let output = command.arg(deploy("systemd/bearerd.service")).output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let figure = said.split("bearerd.service: ").nth(1).and_then(|rest| rest.split(' ').next());
    let figure = figure.expect("an overall figure").to_owned();
    let page = fs::read_to_string(deploy("systemd/README.md")).expect("a page");
    assert!(page.contains(&format!("**{figure}**")), "the page does not say {figure}");
}

#[test]
fn kubernetes_knows_every_field_of_the_manifests() {
    for manifest in ["kubernetes/sidecar.yaml", "kubernetes/sandbox.yaml"] {
        // The first version with native sidecars switched on, and the newest that is known.
        for version in ["1.29", "1.37"] {
            let mut command = Command::new(peers().join("python/bin/kubernetes-validate"));
            command.args(["--strict", "-k", version]).arg(deploy(manifest));
            let output = command.output().expect("kubernetes-validate");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

#[test]
fn the_configurations_of_the_deployments_are_valid() {
    let secrets = tempfile::tempdir().expect("a folder");
    for name in ["payhub-email", "payhub-password", "secrets_payhub-email", "secrets_payhub-password"] {
        fs::write(secrets.path().join(name), "value\n").expect("a file");
    }
    let systemd = fs::read_to_string(deploy("systemd/bearerd.toml")).expect("a configuration");
    let configurations =
        [systemd, config_map("kubernetes/sidecar.yaml"), config_map("kubernetes/sandbox.yaml")];
    for configuration in configurations {
        is_valid(&configuration, &secrets);
    }
}

/// The configuration in a manifest's ConfigMap.
fn config_map(manifest: &str) -> String {
    let text = fs::read_to_string(deploy(manifest)).expect("a manifest");
    let block = text.lines().skip_while(|line| !line.ends_with("bearerd.toml: |")).skip(1);
    let block = block.take_while(|line| *line != "---");
    block.map(|line| line.strip_prefix("    ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn is_valid(configuration: &str, secrets: &TempDir) {
    let folder = secrets.path().display().to_string();
    let file = secrets.path().join("bearerd.toml");
    fs::write(&file, configuration.replace("/run/secrets/bearerd", &folder)).expect("a file");
    let mut check = bearerd(&["check", "--config"]);
    let output = check.arg(&file).env("CREDENTIALS_DIRECTORY", folder).output().expect("the binary starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{configuration}\n{}", String::from_utf8_lossy(&said));
}
