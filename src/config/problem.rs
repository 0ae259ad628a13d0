//! One mistake in a configuration, told so that it can be mended without a search: where, what, and
//! what was meant. The drawn line shows keys and never a value.

use std::fmt;

use serde::Serialize;

/// One mistake, or one thing worth a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, without any value that could be a secret.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where it is; `None` if it is in no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted; told at every start.
    Warning,
    /// Told by `check` only.
    Hint,
}

/// A place in a file, and its line with every value hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, each of its values shown as `"…"`.
    #[serde(skip)]
    pub excerpt: String,
    /// The characters of `excerpt` that are meant: how many stand before them, and how many they are.
    #[serde(skip)]
    pub mark: (usize, usize),
}

impl Problem {
    /// A problem that is in no file.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), help: None, location: None }
    }

    /// A mistake at this place, if it is in a file.
    pub fn at(location: Option<Location>, message: impl Into<String>) -> Self {
        Self { location, ..Self::nowhere(message) }
    }

    /// Says what to do about it.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }

    /// Says what was meant, if anything is near enough.
    pub fn meant(&mut self, near: Option<&str>) {
        if let Some(near) = near {
            self.help(format!("did you mean `{near}`?"));
        }
    }

    /// Says what was meant, or something else if nothing is near enough.
    pub fn meant_or(&mut self, near: Option<&str>, otherwise: impl FnOnce() -> String) {
        self.help = Some(near.map_or_else(otherwise, |near| format!("did you mean `{near}`?")));
    }
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning | Self::Hint => "warning",
        }
    }
}

impl fmt::Display for Problem {
    /// Several lines, without a newline at the end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.severity.as_str(), self.message)?;
        let Some(location) = &self.location else {
            return match &self.help {
                Some(help) => write!(formatter, "\n  = {help}"),
                None => Ok(()),
            };
        };
        let number = location.line.to_string();
        let gutter = " ".repeat(number.len());
        let (before, length) = (" ".repeat(location.mark.0), "^".repeat(location.mark.1.max(1)));
        writeln!(formatter, "\n{gutter}--> {}:{}:{}", location.file, location.line, location.column)?;
        writeln!(formatter, "{gutter} |")?;
        writeln!(formatter, "{number} | {}", location.excerpt)?;
        write!(formatter, "{gutter} | {before}{length}")?;
        match &self.help {
            Some(help) => write!(formatter, " {help}"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One problem that is in no file.
    pub fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    /// Each problem, with an empty line between two.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
