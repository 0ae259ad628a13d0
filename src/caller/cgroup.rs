//! Control groups of callers, and patterns over their names (cgroups(7)).

use std::fmt;

use crate::caller::pattern;

/// A control group and all below it: a path such as `/system.slice/app.service`, in which `*` stands for
/// any bytes of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if !text.starts_with('/') || path.is_empty() {
            return Err("a control group is a path below the root, such as \"/system.slice/app.service\"");
        }
        if path[1..].split('/').any(|segment| matches!(segment, "" | ".")) {
            return Err("the path of a control group has no empty segments");
        }
        Ok(Self(path.to_owned()))
    }

    /// Whether a control group is this one or lies below it.
    pub fn covers(&self, cgroup: &str) -> bool {
        let mut segments = cgroup.split('/');
        self.0.split('/').all(|wanted| segments.next().is_some_and(|segment| fits(wanted, segment)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a segment fits. What lies outside of this process's own namespace is shown with `..`, which
/// only `..` itself stands for (cgroup_namespaces(7)).
fn fits(wanted: &str, segment: &str) -> bool {
    if segment == ".." {
        return wanted == "..";
    }
    pattern::fits(wanted, segment)
}

/// The control group of a process, from the text of `/proc/PID/cgroup`: that of the unified hierarchy
/// (cgroups(7), "/proc files"), or else the one that systemd names under the first version.
pub fn of_process(text: &str) -> Option<&str> {
    let path_of = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let named = || text.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    let unified = path_of("0::").filter(|path| *path != "/");
    unified.or_else(named).or_else(|| path_of("0::")).filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{Pattern, of_process};

    #[test]
    fn a_pattern_covers_a_group_and_those_below_it() {
        for (pattern, cgroup, covers) in [
            ("/system.slice/app.service", "/system.slice/app.service", true),
            ("/system.slice/app.service/", "/system.slice/app.service", true),
            ("/system.slice/app.service", "/system.slice/app.service/worker", true),
            ("/system.slice/app.service", "/system.slice/app.service.d", false),
            ("/system.slice/app.service", "/system.slice", false),
            ("/system.slice/app.service", "/", false),
            ("/system.slice/app.service", "/system.slice/app.service (deleted)", false),
            ("/system.slice/*.service", "/system.slice/app.service", true),
            ("/system.slice/*.service", "/system.slice/app.slice/x.service", false),
            ("/kubepods*/*/cri-*-app*", "/kubepods.slice/pod1/cri-x-app-2.scope", true),
            ("/kubepods*/*/cri-*-app*", "/kubepods.slice/pod1/cri-x-api.scope", false),
            ("/a*a", "/a", false),
            ("/a*a", "/aa", true),
            ("/*", "/anything/at/all", true),
            ("/*", "/", true),
            ("/*/app", "/../app", false),
            ("/../app", "/../app", true),
        ] {
            let parsed = Pattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.covers(cgroup), covers, "{pattern} {cgroup}");
        }
        for wrong in ["", "/", "system.slice", "//", "/a//b", "/./a"] {
            Pattern::parse(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn the_group_of_a_process_is_that_of_the_unified_hierarchy_or_of_systemd() {
        for (text, cgroup) in [
            ("0::/system.slice/app.service\n", Some("/system.slice/app.service")),
            ("12:cpu:/x\n1:name=systemd:/user.slice\n0::/a\n", Some("/a")),
            ("12:cpu:/x\n1:name=systemd:/user.slice\n0::/\n", Some("/user.slice")),
            ("12:cpu:/x\n1:name=systemd:/user.slice\n", Some("/user.slice")),
            ("0::/\n", Some("/")),
            ("12:cpu:/x\n", None),
            ("", None),
        ] {
            assert_eq!(of_process(text), cgroup, "{text}");
        }
    }
}
