//! The command line: what it takes, what it prints, and how it ends.

use std::process::Stdio;

use crate::support::sidecar::run;
use crate::support::{Sidecar, bearerd, canary};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn help_goes_to_standard_output_and_ends_with_0() {
    let output = run(bearerd(&["--help"]), "");
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(text(&output.stdout));
    assert!(output.stderr.is_empty());
}

#[test]
fn each_command_has_a_help_of_its_own() {
    let help = text(&run(bearerd(&["--help"]), "").stdout);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> =
        commands.map_while(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    assert_eq!(names.len(), 23, "{names:?}");
    for name in names {
        let output = run(bearerd(&[name, "--help"]), "");
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(text(&output.stdout).contains(&format!("Usage: bearerd {name}")), "{name}");
    }
}

#[test]
fn wrong_arguments_end_with_64_and_are_told_on_standard_error() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run", "--fly"],
        &["probe"],
        &["probe", "dead"],
        &["explain", "GET"],
        &["status", "--admin", "nowhere"],
        &["completions", "ed"],
    ] {
        let output = run(bearerd(arguments), "");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn nobody_at_the_admin_listener_ends_with_69() {
    for arguments in
        [&["status"][..], &["probe", "live"], &["reload"], &["quit"], &["refresh", "a"], &["set", "a"]]
    {
        for address in ["127.0.0.1:9", "unix:/nowhere/admin.sock"] {
            let mut command = bearerd(arguments);
            command.env("BEARERD_ADMIN", address);
            let output = run(command, "a-token");
            assert_eq!(output.status.code(), Some(69), "{arguments:?}");
            assert!(text(&output.stderr).contains(address), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for arguments in [&["--help"][..], &["completions", "bash"], &["man"], &["schema"], &["presets"]] {
        let mut child =
            bearerd(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn commands_speak_to_a_running_bearerd() {
    let (token, next) = (canary::token(), canary::token());
    let sidecar = Sidecar::ready(&format!(
        "[credentials.fixed]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\n\
         [routes.fixed]\nupstream = \"http://127.0.0.1:9\"\ncredential = \"fixed\"\n"
    ));
    let status = sidecar.command(&["status"], "");
    let wanted =
        "NAME   FLOW    STATE  GENERATION  EXPIRES  RENEWS\nfixed  static  ready  1           never    -\n";
    assert!(text(&status.stdout).starts_with(wanted), "{}", text(&status.stdout));
    let json = sidecar.command(&["status", "--json"], "");
    assert_eq!(json.stdout, sidecar.admin().get("/v1/credentials").body);

    assert!(sidecar.command(&["set", "fixed"], &format!("{next}\n")).status.success());
    assert_eq!(sidecar.credential("fixed")["generation"], 2);
    assert_eq!(sidecar.command(&["set", "fixed"], "").status.code(), Some(64));
    assert_eq!(sidecar.command(&["refresh", "nobody"], "").status.code(), Some(69));
    for probe in ["live", "ready"] {
        assert!(sidecar.command(&["probe", probe], "").status.success());
    }
    assert!(sidecar.command(&["reload"], "").status.success());
}

#[test]
fn the_running_bearerd_is_found_by_the_configuration_and_so_is_its_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let file = folder.path().join("bearerd.toml");
    let (token, admin_token) = (canary::token(), canary::secret());
    std::fs::write(folder.path().join("admin-token"), admin_token + "\n").expect("a file");
    let configuration = format!(
        "[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken = {{ file = \"admin-token\" }}\n\
         [listeners.app]\nbind = \"127.0.0.1:0\"\n\
         [credentials.fixed]\nflow = \"static\"\ntoken = {{ value = \"{token}\" }}\nexpires = \"never\"\n\
         [routes.fixed]\nupstream = \"http://127.0.0.1:9\"\ncredential = \"fixed\"\n"
    );
    std::fs::write(&file, configuration).expect("a file");
    let ask = |arguments: &[&str]| {
        let mut command = bearerd(arguments);
        command.env("BEARERD_CONFIG", &file);
        run(command, "").status.code()
    };
    let mut process = bearerd(&["run"]);
    let mut process = process.env("BEARERD_CONFIG", &file).stderr(Stdio::null()).spawn().expect("the binary");
    let ready = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ask(&["probe", "ready"]) == Some(0)
    });
    assert!(ready, "it is ready");
    assert_eq!(ask(&["refresh", "fixed"]), Some(0));
    assert_eq!(ask(&["quit"]), Some(0));
    assert!(process.wait().expect("an end").success());
}
