//! A configuration as a tree whose every part knows where it was written.
//!
//! Presets are laid under it and wrong keys are cut out of it before it is deserialized; positions
//! stay, so that a problem found at any later step still points at its line.

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::config::text::Span;

/// One value of the file, with the key that it stands under.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where its key is; none for the root and the items of an array.
    pub(crate) key: Option<Span>,
    /// Where the value itself is.
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// The values of TOML.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Zeroizing<String>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
}

/// A table, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: IndexMap<String, Node>,
    /// Keys that were there and were cut out because they were wrong.
    pub(crate) spoiled: Vec<String>,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.get_mut(key)
    }

    /// Puts a value under a key, in place of the one that is there.
    pub(crate) fn set(&mut self, key: &str, node: Node) {
        self.entries.insert(key.to_owned(), node);
    }

    /// Takes a key out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Node> {
        self.entries.shift_remove(key)
    }

    /// Cuts a key out because it is wrong.
    pub(crate) fn spoil(&mut self, key: &str) {
        self.entries.shift_remove(key);
        self.spoiled.push(key.to_owned());
    }
}

/// What is wrong with a text, and where.
type Mistakes = Vec<(Span, String)>;

impl Node {
    /// The tree of a text, and where its values are; or every place where it is not TOML, and why.
    pub(crate) fn parse(text: &str) -> Result<(Self, Vec<Span>), Mistakes> {
        let (document, mistakes) = DeTable::parse_recoverable(text);
        if !mistakes.is_empty() {
            // The parser's messages are fixed texts: they quote nothing of the file.
            let told = |mistake: toml::de::Error| {
                (mistake.span().unwrap_or(0..0), format!("this is not TOML: {}", mistake.message()))
            };
            return Err(mistakes.into_iter().map(told).collect());
        }
        let tree = Self::from_document(document.get_ref(), text.len());
        let mut values = Vec::new();
        tree.value_spans(&mut values);
        Ok((tree, values))
    }

    /// The tree of a parsed document.
    pub(crate) fn from_document(document: &DeTable<'_>, length: usize) -> Self {
        Self { key: None, span: 0..length, value: Value::Table(table(document)) }
    }

    /// A text that was not in the file, at the place of what caused it.
    pub(crate) fn text(text: &str, span: Span) -> Self {
        Self { key: Some(span.clone()), span, value: Value::Text(Zeroizing::new(text.to_owned())) }
    }

    /// An empty table that was not in the file, at the place of what caused it.
    pub(crate) fn table(span: Span) -> Self {
        Self { key: Some(span.clone()), span, value: Value::Table(Table::default()) }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The table under a key, made if there is none.
    pub(crate) fn table_at(&mut self, key: &str) -> Option<&mut Table> {
        let span = self.span.clone();
        let table = self.as_table_mut()?;
        if table.get(key).is_none() {
            table.set(key, Self::table(span));
        }
        table.get_mut(key)?.as_table_mut()
    }

    /// Moves the whole tree to one place of another file: a preset's parts are told at the line that
    /// names the preset.
    pub(crate) fn move_to(&mut self, span: &Span) {
        self.key = self.key.as_ref().map(|_| span.clone());
        self.span = span.clone();
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.move_to(span)),
            Value::Table(table) => table.entries.values_mut().for_each(|node| node.move_to(span)),
            _ => {}
        }
    }

    /// Moves all places by so many bytes: the tree is of a further text ([`Findings::add`]).
    ///
    /// [`Findings::add`]: crate::config::findings::Findings::add
    pub(crate) fn shift(&mut self, by: usize) {
        let shifted = |span: &Span| span.start + by..span.end + by;
        self.key = self.key.as_ref().map(shifted);
        self.span = shifted(&self.span);
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.shift(by)),
            Value::Table(table) => table.entries.values_mut().for_each(|node| node.shift(by)),
            _ => {}
        }
    }

    /// Where the values of the tree are: all that a drawn line hides.
    fn value_spans(&self, spans: &mut Vec<Span>) {
        match &self.value {
            Value::Array(items) => items.iter().for_each(|item| item.value_spans(spans)),
            Value::Table(table) => table.entries.values().for_each(|node| node.value_spans(spans)),
            _ => spans.push(self.span.clone()),
        }
    }
}

fn table(document: &DeTable<'_>) -> Table {
    let mut entries: IndexMap<String, Node> = document
        .iter()
        .map(|(key, value)| {
            let node =
                Node { key: Some(key.span()), span: value.span(), value: self::value(value.get_ref()) };
            (key.get_ref().clone().into_owned(), node)
        })
        .collect();
    entries.sort_by_key(|_, node| node.key.as_ref().map_or(0, |key| key.start));
    Table { entries, spoiled: Vec::new() }
}

fn value(value: &DeValue<'_>) -> Value {
    let text = |text: &str| Value::Text(Zeroizing::new(text.to_owned()));
    match value {
        DeValue::String(string) => text(string),
        // A number beyond 64 bits stays a text, which no key that wants a number takes.
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| text(integer.as_str()), Value::Integer),
        DeValue::Float(float) => float.as_str().parse().map_or_else(|_| text(float.as_str()), Value::Float),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(time) => text(&time.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| Node { key: None, span: item.span(), value: self::value(item.get_ref()) })
                .collect(),
        ),
        DeValue::Table(document) => Value::Table(table(document)),
    }
}

/// A place in the tree, for problems: the way down follows the keys as far as they are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a>(&'a Node);

impl<'a> Place<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        Self(node)
    }

    /// The place of a key of this table, or the table's own if the key is not there.
    pub(crate) fn key(self, key: &str) -> Self {
        self.0.as_table().and_then(|table| table.get(key)).map_or(self, Self)
    }

    /// The place of an item of this array, or this place itself: a list of one may be written without brackets.
    pub(crate) fn item(self, index: usize) -> Self {
        match &self.0.value {
            Value::Array(items) => items.get(index).map_or(self, Self),
            _ => self,
        }
    }

    /// Whether a key of this table is there.
    pub(crate) fn has(self, key: &str) -> bool {
        self.0.as_table().is_some_and(|table| table.get(key).is_some())
    }

    /// Whether a key of this table was there and was wrong.
    pub(crate) fn is_spoiled(self, key: &str) -> bool {
        self.spoiled().iter().any(|spoiled| spoiled == key)
    }

    /// The keys of this table that were there and were wrong.
    pub(crate) fn spoiled(self) -> &'a [String] {
        self.0.as_table().map_or(&[], |table| &table.spoiled)
    }

    /// Where the key of this place is.
    pub(crate) fn key_span(self) -> Span {
        self.0.key.clone().unwrap_or_else(|| self.span())
    }

    /// What a problem at this place marks: the value where it is a single one, else the key.
    pub(crate) fn span(self) -> Span {
        match &self.0.value {
            Value::Array(_) | Value::Table(_) => self.0.key.clone().unwrap_or_else(|| {
                // The root and items have no key: their first character will do.
                self.0.span.start..self.0.span.start + 1
            }),
            _ => self.0.span.clone(),
        }
    }
}
