//! "Did you mean": the nearest of the names that are possible.

/// The candidate that is nearest to `written`, if any is near enough to be meant.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = normal(written);
    candidates
        .into_iter()
        .map(|candidate| {
            let other = normal(candidate);
            // `prod` for `production` is short, not misspelt.
            let is_short = written.len() >= 3 && other.starts_with(&written);
            let distance = if is_short { 1 } else { strsim::damerau_levenshtein(&written, &other) };
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(written.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and the kind of dash are not told apart by people.
fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// Names as a list for people: `a`, `b` and `c`.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_is_meant_if_it_is_near_at_all() {
        let names = ["password", "path", "upstream", "max_head"];
        assert_eq!(nearest("pasword", names), Some("password"));
        assert_eq!(nearest("upsteram", names), Some("upstream"));
        assert_eq!(nearest("Max-Head", names), Some("max_head"));
        assert_eq!(nearest("pass", names), Some("password"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("", names), None);
    }
}
