//! `bearerd demo`.

use crate::support::bearerd;
use crate::support::sidecar::run;

#[test]
fn the_demo_tells_four_acts_and_all_of_it_is_true() {
    let output = run(bearerd(&["demo"]), "");
    let told = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    for vendor in ["nic-ma", "sahamati", "payhub", "digilocker"] {
        assert!(told.contains(vendor), "{vendor} is missing:\n{told}");
    }
    assert_eq!(told.matches('✓').count(), 7, "{told}");
    assert!(!told.contains('✗') && !told.contains('\x1b'), "{told}");
    for value in ["nic-ma-demo-token", "-demo-password", "digilocker-demo-secret", "5eed0c0ffee5eed", "eyJ"] {
        assert!(!told.contains(value), "{value} is shown:\n{told}");
    }
}
