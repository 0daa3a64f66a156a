//! YAML whose keys stand in the order in which they were written.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_saphyr::{ser_options, to_string_with_options};

use super::error::Undeployable;

/// A part of a document.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A mapping.
pub(super) fn map<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// A list.
pub(super) fn list(items: impl IntoIterator<Item = Node>) -> Node {
    Node::List(items.into_iter().collect())
}

impl Node {
    /// The mapping with one more entry, if there is a value for it; what is no mapping stays as it is.
    pub(super) fn and(mut self, key: &str, value: Option<Node>) -> Self {
        if let (Node::Map(entries), Some(value)) = (&mut self, value) {
            entries.push((key.to_owned(), value));
        }
        self
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Node::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Node::Text(text)
    }
}

impl From<u64> for Node {
    fn from(number: u64) -> Self {
        Node::Number(number)
    }
}

impl From<bool> for Node {
    fn from(flag: bool) -> Self {
        Node::Flag(flag)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Text(text) => serializer.serialize_str(text),
            Node::Number(number) => serializer.serialize_u64(*number),
            Node::Flag(flag) => serializer.serialize_bool(*flag),
            Node::List(items) => serializer.collect_seq(items),
            Node::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

/// One document after the other, each under its comment, which is ours and not from a manifest.
pub(super) fn documents(documents: &[(&'static str, Node)]) -> Result<String, Undeployable> {
    let options = ser_options! { prefer_block_scalars: false };
    let mut text = String::new();
    for (comment, node) in documents {
        let body = to_string_with_options(node, options.clone())
            .map_err(|error| Undeployable::new(format!("YAML cannot be written: {error}")))?;
        text.push_str("---\n");
        comment.lines().for_each(|line| text.extend(["# ", line, "\n"]));
        text.push_str(&body);
    }
    Ok(text)
}
