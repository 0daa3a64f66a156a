use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// Attributes by their key. A key that is there twice, which the specification forbids, is kept once more as
/// `key (again)`.
pub type Attributes = BTreeMap<String, Value>;

/// The value of an attribute. It compares with a text by what it [says](Self::as_str), and with a number or a `bool` by
/// its type as well. It can be used as its text.
///
/// ```
/// # use halfbyte_observe::testing::Value;
/// let status = Value::from(200);
/// assert_eq!(status, 200);
/// assert_eq!(status, "200");
/// assert_ne!(Value::from("200"), 200);
/// ```
#[derive(Clone, PartialEq)]
pub struct Value {
    text: String,
    of: Type,
}

#[derive(Clone, Debug, PartialEq)]
enum Type {
    Text,
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes,
    List(Vec<Value>),
    Map(Attributes),
    Nothing,
}

impl Value {
    /// Its text; of everything that is no text, how it is written: `200`, `[a, b]`, `{a: 1}`, bytes in hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `string`, `bool`, `int`, `double`, `bytes`, `array`, `map` or `empty`.
    pub fn type_name(&self) -> &'static str {
        match self.of {
            Type::Text => "string",
            Type::Bool(_) => "bool",
            Type::Int(_) => "int",
            Type::Double(_) => "double",
            Type::Bytes => "bytes",
            Type::List(_) => "array",
            Type::Map(_) => "map",
            Type::Nothing => "empty",
        }
    }

    /// The values of an array; none of anything else.
    pub fn items(&self) -> &[Value] {
        match &self.of {
            Type::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a map; `None` of anything else.
    pub fn entries(&self) -> Option<&Attributes> {
        match &self.of {
            Type::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn read(value: Option<AnyValue>) -> Self {
        match value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => Self { text, of: Type::Text },
            Some(any_value::Value::BoolValue(value)) => value.into(),
            Some(any_value::Value::IntValue(value)) => value.into(),
            Some(any_value::Value::DoubleValue(value)) => value.into(),
            Some(any_value::Value::BytesValue(bytes)) => Self { text: super::hex(&bytes), of: Type::Bytes },
            Some(any_value::Value::ArrayValue(array)) => {
                let items: Vec<_> = array.values.into_iter().map(|item| Self::read(Some(item))).collect();
                let texts: Vec<_> = items.iter().map(Self::as_str).collect();
                Self { text: format!("[{}]", texts.join(", ")), of: Type::List(items) }
            }
            Some(any_value::Value::KvlistValue(list)) => {
                let entries = attributes(list.values);
                let texts: Vec<_> = entries.iter().map(|(key, value)| format!("{key}: {}", value.text)).collect();
                Self { text: format!("{{{}}}", texts.join(", ")), of: Type::Map(entries) }
            }
            // The other one belongs to profiles.
            Some(any_value::Value::StringValueStrindex(_)) | None => Self { text: String::new(), of: Type::Nothing },
        }
    }
}

/// As Rust writes it, so that what is a text can be told from what is a number.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Type::Text => fmt::Debug::fmt(&self.text, f),
            Type::List(items) => fmt::Debug::fmt(items, f),
            Type::Map(entries) => fmt::Debug::fmt(entries, f),
            _ => f.write_str(&self.text),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Deref for Value {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), of: Type::Text }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self { text: value.to_string(), of: Type::Bool(value) }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self { text: value.to_string(), of: Type::Int(value) }
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self { text: value.to_string(), of: Type::Double(value) }
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.text == other
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl PartialEq<String> for Value {
    fn eq(&self, other: &String) -> bool {
        self.text == *other
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        self.of == Type::Bool(*other)
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        self.of == Type::Int(*other)
    }
}

impl PartialEq<f64> for Value {
    fn eq(&self, other: &f64) -> bool {
        self.of == Type::Double(*other)
    }
}

/// What made it: the library, and for a log record the module.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Scope {
    /// Its name; of a log record the `target` of the `tracing` event.
    pub name: String,
    /// Its version; empty when there is none.
    pub version: String,
    /// What else is said of it.
    pub attributes: Attributes,
    /// Which conventions it follows; empty when it does not say.
    pub schema_url: String,
}

impl Scope {
    pub(super) fn read(scope: Option<InstrumentationScope>, schema_url: String) -> Self {
        let scope = scope.unwrap_or_default();
        Self { name: scope.name, version: scope.version, attributes: attributes(scope.attributes), schema_url }
    }
}

pub(super) fn attributes(list: Vec<KeyValue>) -> Attributes {
    let mut attributes = Attributes::new();
    for KeyValue { mut key, value, .. } in list {
        while attributes.contains_key(&key) {
            key.push_str(" (again)");
        }
        attributes.insert(key, Value::read(value));
    }
    attributes
}

pub(super) fn resource(resource: Option<Resource>) -> Attributes {
    attributes(resource.map(|resource| resource.attributes).unwrap_or_default())
}

/// `service.name`
pub(super) fn service(resource: &Attributes) -> String {
    resource.get("service.name").map(|name| name.as_str().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1 as proto;

    use super::*;

    fn any(value: any_value::Value) -> Option<AnyValue> {
        Some(AnyValue { value: Some(value) })
    }

    fn pair(key: &str, value: Option<AnyValue>) -> KeyValue {
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    }

    #[test]
    fn values_are_written_plainly_and_keep_their_type() {
        use any_value::Value::*;
        let list = proto::ArrayValue { values: vec![AnyValue { value: Some(IntValue(1)) }, AnyValue { value: None }] };
        let map = proto::KeyValueList { values: vec![pair("a", any(BoolValue(true)))] };
        for (value, text, type_name, debug) in [
            (StringValue("a\"b".into()), "a\"b", "string", r#""a\"b""#),
            (BoolValue(true), "true", "bool", "true"),
            (IntValue(-7), "-7", "int", "-7"),
            (DoubleValue(0.5), "0.5", "double", "0.5"),
            (BytesValue(vec![0, 255]), "00ff", "bytes", "00ff"),
            (ArrayValue(list), "[1, ]", "array", "[1, ]"),
            (KvlistValue(map), "{a: true}", "map", r#"{"a": true}"#),
        ] {
            let value = Value::read(any(value));
            assert_eq!((value.as_str(), value.type_name(), format!("{value:?}").as_str()), (text, type_name, debug));
        }
        assert_eq!(Value::read(None).type_name(), "empty");
    }

    #[test]
    fn a_number_is_no_text_although_a_text_may_say_the_same() {
        let (number, text) = (Value::from(1), Value::from("1"));
        assert!(number == 1 && number == "1" && number != 1.0 && text == "1" && text != 1);
        let (truth, text) = (Value::from(true), Value::from("true"));
        assert!(truth == true && text != true);
        assert_ne!(Value::from("1"), Value::from(1));
    }

    #[test]
    fn a_key_that_is_there_twice_is_not_hidden() {
        let list = ["a", "a", "a", "b"].map(|key| pair(key, any(any_value::Value::IntValue(1))));
        let keys: Vec<_> = attributes(list.into()).into_keys().collect();
        assert_eq!(keys, ["a", "a (again)", "a (again) (again)", "b"]);
    }
}
