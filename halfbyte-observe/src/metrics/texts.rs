use std::borrow::Cow;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use opentelemetry::StringValue;

use super::Table;
use super::table::hash_of_bytes;

/// Texts of which there are few, such as routes: each is kept once, and stands for a small number in the key of a series.
pub(crate) struct Texts(Table<Text>);

/// One of them.
pub(crate) struct Text {
    text: Arc<str>,
    // The same, to be said without counting references.
    leaked: Option<&'static str>,
    // One for each prefix.
    names: Box<[OnceLock<&'static str>]>,
}

impl Texts {
    pub(crate) fn new(cap: usize) -> Self {
        Self(Table::new(cap))
    }

    /// The number of `text`; None if there are too many texts already. It will be asked for the
    /// [names](Text::name) of up to `prefixes` prefixes.
    #[inline]
    pub(crate) fn intern(&self, text: &str, prefixes: usize) -> Option<NonZeroU32> {
        let hash = hash_of_bytes(text.as_bytes());
        if let Some(place) = self.0.find(hash, |known| *known.text == *text) {
            return number(place);
        }
        self.add(text, hash, prefixes)
    }

    #[cold]
    fn add(&self, text: &str, hash: u64, prefixes: usize) -> Option<NonZeroU32> {
        let make = || Text {
            text: text.into(),
            leaked: within_allowance(text.len()).then(|| &*text.to_owned().leak()),
            names: std::iter::repeat_with(OnceLock::new).take(prefixes).collect(),
        };
        number(self.0.find_or_insert(hash, |known| *known.text == *text, make)?)
    }

    /// The number of a text that is known already.
    pub(crate) fn find(&self, text: &str) -> Option<NonZeroU32> {
        number(self.0.find(hash_of_bytes(text.as_bytes()), |known| *known.text == *text)?)
    }

    #[inline]
    pub(crate) fn get(&self, number: NonZeroU32) -> Option<&Text> {
        self.0.get(usize::try_from(number.get() - 1).ok()?)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|text| &*text.text)
    }
}

fn number(place: usize) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(place + 1).ok()?)
}

impl Text {
    pub(crate) fn value(&self) -> StringValue {
        self.leaked.map_or_else(|| self.text.clone().into(), Into::into)
    }

    /// `{prefix} {text}`, or the text alone; `index` is that of the prefix.
    pub(crate) fn name(&self, index: usize, prefix: &str) -> Cow<'static, str> {
        if let Some(known) = self.names.get(index).and_then(OnceLock::get) {
            return (*known).into();
        }
        let mut name = String::with_capacity(prefix.len() + 1 + self.text.len());
        let separator = if prefix.is_empty() { "" } else { " " };
        let _never_fails = write!(name, "{prefix}{separator}{}", self.text);
        match (self.names.get(index), within_allowance(name.len())) {
            (Some(slot), true) => (*slot.get_or_init(|| name.leak())).into(),
            _ => name.into(),
        }
    }
}

/// A span's name is a `&'static str` or allocated each time, so names are leaked: this many bytes of them in a process,
/// and of the texts themselves.
const ALLOWANCE: usize = 1 << 20;

fn within_allowance(len: usize) -> bool {
    static LEAKED: AtomicUsize = AtomicUsize::new(0);
    let more = |leaked: usize| leaked.checked_add(len).filter(|sum| *sum <= ALLOWANCE);
    LEAKED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_its_names_are_made_once() {
        let texts = Texts::new(2);
        let labels = texts.intern("/labels/{id}", 2).expect("there is room");
        assert_eq!(texts.intern("/labels/{id}", 2), Some(labels));
        assert_eq!(texts.find("/labels/{id}"), Some(labels));
        assert_eq!(texts.find("/other"), None);
        let text = texts.get(labels).expect("interned");
        assert_eq!(text.value().as_str(), "/labels/{id}");
        assert_eq!(text.name(0, "GET"), "GET /labels/{id}");
        assert_eq!(text.name(1, ""), "/labels/{id}");
        assert!(matches!(text.name(0, "GET"), Cow::Borrowed("GET /labels/{id}")));
        assert!(
            matches!(text.name(2, "PUT"), Cow::Owned(name) if name == "PUT /labels/{id}"),
            "no place is kept for it"
        );
        assert!(texts.intern("/b", 2).is_some());
        assert_eq!(texts.intern("/c", 2), None);
    }

    #[test]
    fn what_is_leaked_is_bounded() {
        assert!(!within_allowance(ALLOWANCE + 1));
        assert!(within_allowance(0));
    }
}
