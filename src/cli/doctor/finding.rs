//! What the doctor found.

use serde::Serialize;

/// One thing that was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at; the names are in docs/doctor.md.
    pub(super) check: &'static str,
    /// How bad it is.
    pub(super) severity: Severity,
    /// What was found.
    pub(super) message: String,
    /// What to do.
    pub(super) advice: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Secrets are exposed, or something will fail.
    Fault,
    /// It could be safer.
    Advice,
}

impl Finding {
    pub(super) fn fault(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, severity: Severity::Fault, message: message.into(), advice: advice.into() }
    }

    pub(super) fn advice(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Advice, ..Self::fault(check, message, advice) }
    }
}

/// The findings for people.
pub(super) fn text(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|Finding { check, severity, message, advice }| {
        let severity = match severity {
            Severity::Fault => "fault",
            Severity::Advice => "advice",
        };
        format!("{severity}: {check}: {message}\n  -> {advice}\n")
    });
    let text: String = lines.collect();
    let faults = findings.iter().filter(|finding| finding.severity == Severity::Fault).count();
    match (faults, findings.len() - faults) {
        (0, 0) => text + "nothing to do\n",
        (faults, advice) => text + &format!("\n{faults} to mend, {advice} could be better\n"),
    }
}

/// The same for programs.
pub(super) fn json(findings: &[Finding]) -> String {
    serde_json::json!({ "findings": findings }).to_string() + "\n"
}
