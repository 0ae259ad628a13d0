//! Patterns in which `*` stands for any bytes.

/// Whether a whole text fits a pattern.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    // Each part where it comes first leaves the most for those behind it.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_bytes() {
        for (pattern, text, does) in [
            ("alice", "alice", true),
            ("alice", "alice2", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("*", "anything/at all", true),
            ("shop-*", "shop-7", true),
            ("shop-*", "shop", false),
            ("*@shop.example", "me@shop.example", true),
            ("*@shop.example", "me@shop.example.evil", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("*ab", "aab", true),
            ("**", "x", true),
        ] {
            assert_eq!(fits(pattern, text), does, "{pattern} {text}");
        }
    }
}
