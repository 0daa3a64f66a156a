//! Reading TOML tables with every fault kept and every line known; knows nothing of what a catalogue holds.

use std::cell::OnceCell;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Fault, suggestion};

/// A TOML key or value, with where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// No text is longer, in bytes.
const TEXT_MAX: usize = 256;
/// Nothing is there more often.
pub(super) const COUNT_MAX: usize = 10_000;
/// More faults than these are counted only.
const FAULTS_MAX: usize = 1_000;
/// How many names are compared in search of the one that was meant, in all.
const COMPARISONS_MAX: usize = 50_000;

/// Collects faults while tables are read.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// Where each line ends.
    line_ends: OnceCell<Vec<usize>>,
    faults: Vec<(usize, Fault)>,
    uncounted: usize,
    comparisons: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, line_ends: OnceCell::new(), faults: Vec::new(), uncounted: 0, comparisons: COMPARISONS_MAX }
    }

    /// Notes a fault at byte `at` of the text.
    pub(super) fn fault(&mut self, at: usize, name: &str, message: impl Into<String>) {
        if self.faults.len() == FAULTS_MAX {
            self.uncounted += 1;
            return;
        }
        let line_ends = self.line_ends.get_or_init(|| self.text.match_indices('\n').map(|(at, _)| at).collect());
        let line = 1 + line_ends.partition_point(|end| *end < at);
        self.faults.push((at, Fault { line: Some(line), name: name.to_owned(), message: message.into() }));
    }

    /// All faults in the order of the text.
    pub(super) fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort_by_key(|(at, _)| *at);
        let mut faults: Vec<_> = self.faults.into_iter().map(|(_, fault)| fault).collect();
        if self.uncounted > 0 {
            let message = format!("{} more faults are not listed; mend these first", self.uncounted);
            faults.push(Fault { line: None, name: String::new(), message });
        }
        faults
    }

    /// What `unknown` may have been meant to be, as long as looking for it is cheap.
    pub(super) fn hint<'k>(&mut self, unknown: &str, known: impl IntoIterator<Item = &'k str>) -> String {
        let known: Vec<_> = known.into_iter().take(self.comparisons).collect();
        self.comparisons -= known.len();
        suggestion(unknown, known)
    }

    /// The table in `value`, or a fault.
    pub(super) fn table<'t, 'v>(&mut self, name: &str, value: &'t Value<'v>) -> Option<&'t DeTable<'v>> {
        let Some(table) = value.get_ref().as_table() else {
            self.mismatch(name, value, "a table");
            return None;
        };
        self.count(name, value, table.len());
        Some(table)
    }

    /// A fault if there are more than can be.
    pub(super) fn count(&mut self, name: &str, value: &Value<'_>, count: usize) {
        if count > COUNT_MAX {
            self.fault(value.span().start, name, format!("has {count} entries; there can be at most {COUNT_MAX}"));
        }
    }

    /// The text in `value`: not empty, not long, without control characters; or a fault.
    pub(super) fn text_of<'t>(&mut self, name: &str, value: &'t Value<'_>) -> Option<&'t str> {
        let Some(text) = value.get_ref().as_str() else {
            self.mismatch(name, value, "a text");
            return None;
        };
        let fault = match text.len() {
            0 => "must not be empty".to_owned(),
            long if long > TEXT_MAX => format!("is {long} bytes long; it can be at most {TEXT_MAX}"),
            _ if text.chars().any(char::is_control) => "must not have control characters".to_owned(),
            _ => return Some(text),
        };
        self.fault(value.span().start, name, fault);
        None
    }

    /// The member `key` as text, where it is there; a fault if it is something else.
    pub(super) fn text<'t>(&mut self, name: &str, table: &'t DeTable<'_>, key: &str) -> Option<(&'t str, usize)> {
        let value = table.get(key)?;
        self.text_of(&join(name, key), value).map(|text| (text, value.span().start))
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

    /// The texts of the list in `value`, each with where it stands.
    pub(super) fn texts<'t>(&mut self, name: &str, value: &'t Value<'_>) -> Option<Vec<(&'t str, usize)>> {
        let Some(list) = value.get_ref().as_array() else {
            self.mismatch(name, value, "a list of texts");
            return None;
        };
        self.count(name, value, list.len());
        let mut all_good = true;
        let mut texts = Vec::with_capacity(list.len());
        for value in list {
            match self.text_of(name, value) {
                Some(text) => texts.push((text, value.span().start)),
                None => all_good = false,
            }
        }
        all_good.then_some(texts)
    }

    /// The member `key` as one of a few words, where it is there.
    pub(super) fn word<T: Copy>(
        &mut self,
        name: &str,
        table: &DeTable<'_>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let (word, at) = self.text(name, table, key)?;
        let meant = words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
        if meant.is_none() {
            let hint = self.hint(word, words.iter().map(|(known, _)| *known));
            self.fault(at, &join(name, key), format!("cannot be {}{hint}", Quoted(word)));
        }
        meant
    }

    /// Whether `value` is `true`; a fault if it is neither that nor `false`.
    pub(super) fn flag(&mut self, name: &str, value: &Value<'_>) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.mismatch(name, value, "true or false");
        }
        flag
    }

    /// The whole number from 0 to `max` in `value`.
    pub(super) fn small_number(&mut self, name: &str, value: &Value<'_>, max: u8) -> Option<u8> {
        let number = integer(value).and_then(|number| u8::try_from(number).ok()).filter(|number| *number <= max);
        if number.is_none() {
            self.fault(value.span().start, name, format!("must be a whole number from 0 to {max}"));
        }
        number
    }

    /// Refuses members that are not among `known`.
    pub(super) fn refuse_unknown(&mut self, name: &str, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&&**key.get_ref())) {
            let hint = self.hint(key.get_ref(), known.iter().copied());
            self.fault(key.span().start, &join(name, key.get_ref()), format!("there is no such key{hint}"));
        }
    }

    fn mismatch(&mut self, name: &str, value: &Value<'_>, wanted: &str) {
        self.fault(value.span().start, name, format!("must be {wanted}, not {}", describe(value.get_ref())));
    }
}

/// The whole number in `value`, if that is what it is.
pub(super) fn integer(value: &Value<'_>) -> Option<i64> {
    let number = value.get_ref().as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// `name.key`, or `key` at the top; a key that is not bare in quotes.
pub(super) fn join(name: &str, key: &str) -> String {
    let bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let dot = if name.is_empty() { "" } else { "." };
    if bare && (1..=SHOWN_MAX).contains(&key.len()) {
        format!("{name}{dot}{key}")
    } else {
        format!("{name}{dot}{}", Quoted(key))
    }
}

/// What is shown of a text that somebody wrote.
const SHOWN_MAX: usize = 64;

/// A text in quotes, on one line, and no longer than can be read.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHOWN_MAX) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}", format!("{}...", &self.0[..end])),
        }
    }
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
