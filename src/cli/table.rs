//! Tables for people: columns as wide as their widest cell.

/// A line for the head and one for each row, without blanks at their ends.
pub(super) fn table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A text from elsewhere, on one line: it may break no table, and tell a terminal nothing.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|next: char| next.is_whitespace() || next.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{one_line, table};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), String::new()], ["longer".to_owned(), "\u{fc}".to_owned()]];
        assert_eq!(table(["ONE", "TWO"], rows), "ONE     TWO\na\nlonger  \u{fc}\n");
    }

    #[test]
    fn a_text_from_elsewhere_stays_on_its_line_and_moves_no_cursor() {
        assert_eq!(one_line("503 from\r\n the\tissuer \u{1b}[2J\u{7}!"), "503 from the issuer [2J !");
    }
}
