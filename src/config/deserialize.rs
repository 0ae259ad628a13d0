//! From the tree to raw types, by serde.
//!
//! The deserializers of the `toml` crate put what they read into their messages; this one never
//! does. It also knows the way down to a mistake, so that the wrong key can be cut out and the rest
//! be read again ([`super::shape`]).

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::tree::{Node, Table, Value};

/// One step down the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

/// Why a tree does not fit its type.
#[derive(Debug)]
pub(crate) struct Mistake {
    /// The way to it, from its end to the root.
    pub(crate) path: Vec<Step>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// A key that the table does not have, and those that it has.
    UnknownKey { key: String, keys: &'static [&'static str] },
    /// A word that is not one of these.
    UnknownWord { word: String, words: &'static [&'static str] },
    /// A value of another type. `name` is the raw type's, where it has one.
    WrongType { found: &'static str, wanted: String, name: &'static str },
    /// Anything else; the messages are those of our own types and hold no values.
    Other(String),
}

impl Mistake {
    fn new(kind: Kind) -> Self {
        Self { path: Vec::new(), kind }
    }

    fn under(mut self, step: impl FnOnce() -> Step) -> Self {
        self.path.push(step());
        self
    }

    fn named(mut self, type_name: &'static str) -> Self {
        if let Kind::WrongType { name, .. } = &mut self.kind
            && self.path.is_empty()
        {
            *name = type_name;
        }
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the configuration does not have this shape")
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            _ => "a text",
        };
        Self::new(Kind::WrongType { found, wanted: wanted.to_string(), name: "" })
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new(Kind::Other(format!("this value is not possible here: {wanted} is wanted")))
    }

    fn unknown_field(key: &str, keys: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownKey { key: key.to_owned(), keys })
    }

    fn unknown_variant(word: &str, words: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownWord { word: word.to_owned(), words })
    }
}

/// Reads a part of the tree.
pub(crate) struct Deserializer<'a>(pub(crate) &'a Node);

impl<'de> de::Deserializer<'de> for Deserializer<'de> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.0.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(boolean) => visitor.visit_bool(*boolean),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Table(table) => visitor.visit_map(Entries::new(table)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self).map_err(|mistake: Mistake| mistake.named(name))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        // A derived structure would take a list too, field by field; nobody means that.
        if let Value::Array(_) = &self.0.value {
            return Err(Mistake::new(Kind::WrongType { found: "a list", wanted: "a table".into(), name }));
        }
        self.deserialize_any(visitor).map_err(|mistake: Mistake| mistake.named(name))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match &self.0.value {
            Value::Text(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            other => Err(Mistake::new(Kind::WrongType { found: kind(other), wanted: "a word".into(), name })),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Deserializer(item)).map(Some).map_err(|mistake| mistake.under(|| Step::Item(index)))
    }
}

struct Entries<'a> {
    entries: indexmap::map::Iter<'a, String, Node>,
    value: Option<(&'a String, &'a Node)>,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Table) -> Self {
        Self { entries: table.entries.iter(), value: None }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let deserializer: StrDeserializer<'_, Mistake> = key.as_str().into_deserializer();
        seed.deserialize(deserializer).map(Some).map_err(|mistake| mistake.under(|| Step::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value without its key"));
        };
        seed.deserialize(Deserializer(node)).map_err(|mistake| mistake.under(|| Step::Key(key.clone())))
    }
}

/// The keys of a raw type.
pub(crate) fn keys_of<'de, T: de::Deserialize<'de>>() -> &'static [&'static str] {
    struct Introspection<'a>(&'a mut &'static [&'static str]);

    impl<'de> de::Deserializer<'de> for Introspection<'_> {
        type Error = Mistake;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Mistake> {
            Err(de::Error::custom("only the keys are of interest"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            keys: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Mistake> {
            *self.0 = keys;
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut keys: &'static [&'static str] = &[];
    // It always ends with an error: the keys are noted on the way.
    let _ = T::deserialize(Introspection(&mut keys));
    keys
}
