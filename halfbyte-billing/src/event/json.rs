//! JSON with exact numbers: values stay the text that they were sent as, and one value has one text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// How deep objects and arrays may lie in each other. Every level is read once more, so that this bounds the work too.
const MAX_DEPTH: u32 = 32;

/// A text of JSON, borrowed where nothing in it is escaped.
#[derive(serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> Text<'a> {
    /// The text that `raw` is; `None` if it is something else.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Cow<'a, str>> {
        serde_json::from_str::<Text<'a>>(raw.get()).ok().map(|text| text.0)
    }
}

/// The members of an object, in the order of their names.
#[derive(Default)]
pub(crate) struct Object<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Object<'a> {
    /// Reads the text of one object.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Fault> {
        // Every name and value fits, so the one fault of the data that can be found is a name that comes twice.
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data if !text.trim_start().starts_with('{') => Fault::NoObject,
            Category::Data => Fault::Twice,
            _ => syntax(&error),
        })
    }

    /// A member; one that is `null` is as good as none.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|value| value.get() != "null")
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
            match members.entry(name) {
                Entry::Vacant(place) => _ = place.insert(value),
                Entry::Occupied(_) => return Err(A::Error::custom("a name comes twice")),
            }
        }
        Ok(Object(members))
    }
}

/// The values of an array; `None` if they are more than `max`, which are read and not kept.
pub(crate) fn first_of_array(text: &str, max: usize) -> Result<Option<Vec<&RawValue>>, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let values = json.deserialize_seq(ArrayVisitor { max }).map_err(|error| syntax(&error))?;
    json.end().map_err(|error| syntax(&error))?;
    Ok(values)
}

struct ArrayVisitor {
    max: usize,
}

impl<'de> Visitor<'de> for ArrayVisitor {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            if values.len() == self.max {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            values.push(value);
        }
        Ok(Some(values))
    }
}

/// What is wrong with a text of JSON. Never what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Syntax { line: usize, column: usize },
    NoObject,
    Twice,
    Deep,
    Nul,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax { line, column } => write!(f, "not valid JSON at line {line}, column {column}"),
            Fault::NoObject => f.write_str("not a JSON object; send {\"name\": value, ...}"),
            Fault::Twice => f.write_str("an object has two members of one name; keep one of them"),
            Fault::Deep => write!(f, "nested deeper than {MAX_DEPTH} levels; make it flatter"),
            Fault::Nul => f.write_str("a text has the character U+0000, which databases cannot keep; leave it out"),
        }
    }
}

/// The one text of the object that `text` is: members sorted by name, no space, no escape that need not be, and numbers
/// as they are written.
pub(crate) fn canonical_object(text: &str) -> Result<String, Fault> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| syntax(&error))?;
    if !raw.get().starts_with('{') {
        return Err(Fault::NoObject);
    }
    let mut canonical = String::with_capacity(raw.get().len());
    write_value(raw, 0, &mut canonical)?;
    Ok(canonical)
}

/// Writes `text` with quotes and escapes.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a text has no part that JSON lacks"));
}

fn write_value(raw: &RawValue, depth: u32, out: &mut String) -> Result<(), Fault> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{' | b'[') if depth == MAX_DEPTH => Err(Fault::Deep),
        Some(b'{') => {
            out.push('{');
            for (index, (name, value)) in Object::parse(text)?.0.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_checked(&name, out)?;
                out.push(':');
                write_value(value, depth + 1, out)?;
            }
            out.push('}');
            Ok(())
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| syntax(&error))?;
            out.push('[');
            for (index, value) in values.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(value, depth + 1, out)?;
            }
            out.push(']');
            Ok(())
        }
        // What has no escapes is what it is; half of a surrogate pair is found when escapes are read.
        Some(b'"') if text.contains('\\') => {
            let Text(text) = serde_json::from_str(text).map_err(|error| syntax(&error))?;
            write_checked(&text, out)
        }
        _ => {
            out.push_str(text);
            Ok(())
        }
    }
}

fn write_checked(text: &str, out: &mut String) -> Result<(), Fault> {
    if text.contains('\0') {
        return Err(Fault::Nul);
    }
    write_text(text, out);
    Ok(())
}

fn syntax(error: &serde_json::Error) -> Fault {
    Fault::Syntax { line: error.line(), column: error.column() }
}
