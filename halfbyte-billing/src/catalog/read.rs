//! Reading TOML tables with every fault kept and every line known; knows nothing of what a catalogue holds.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Fault, suggestion};

/// A TOML key or value, with where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Collects faults while tables are read.
pub(super) struct Reader<'a> {
    text: &'a str,
    faults: Vec<(usize, Fault)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, faults: Vec::new() }
    }

    /// Notes a fault at byte `at` of the text.
    pub(super) fn fault(&mut self, at: usize, name: &str, message: impl Into<String>) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.faults.push((at, Fault { line: Some(line), name: name.to_owned(), message: message.into() }));
    }

    /// All faults in the order of the text.
    pub(super) fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort_by_key(|(at, _)| *at);
        self.faults.into_iter().map(|(_, fault)| fault).collect()
    }

    /// The table in `value`, or a fault.
    pub(super) fn table<'t, 'v>(&mut self, name: &str, value: &'t Value<'v>) -> Option<&'t DeTable<'v>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.fault(value.span().start, name, format!("must be a table, not {}", describe(value.get_ref())));
        }
        table
    }

    /// The member `key` as text, where it is there; a fault if it is something else.
    pub(super) fn text<'t>(&mut self, name: &str, table: &'t DeTable<'_>, key: &str) -> Option<(&'t str, usize)> {
        let value = table.get(key)?;
        let at = value.span().start;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.fault(at, &join(name, key), format!("must be a text, not {}", describe(value.get_ref())));
        }
        text.map(|text| (text, at))
    }

    /// As [`text`](Self::text), with a fault at `at` if it is not there.
    pub(super) fn needed_text<'t>(
        &mut self,
        name: &str,
        table: &'t DeTable<'_>,
        key: &str,
        at: usize,
    ) -> Option<(&'t str, usize)> {
        if table.get(key).is_none() {
            self.fault(at, name, format!("lacks \"{key}\"; add {key} = \"...\""));
        }
        self.text(name, table, key)
    }

    /// Refuses members that are not among `known`.
    pub(super) fn refuse_unknown(&mut self, name: &str, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&&**key.get_ref())) {
            let hint = suggestion(key.get_ref(), known.iter().copied());
            self.fault(key.span().start, &join(name, key.get_ref()), format!("there is no such key{hint}"));
        }
    }
}

/// `name.key`, or `key` at the top.
pub(super) fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

/// What a value is, for people.
pub(super) fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
