use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, Hasher};

use halfbyte_core::fingerprint;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

/// How much of a message is kept, in bytes.
const KEPT: usize = 160;

/// What makes a line the same as another: where it is from, its message, and whether it is sent at all. The message itself is hashed while it is
/// formatted, and never kept but for its beginning.
pub(super) struct Line {
    pub(super) hash: u64,
    pub(super) from: &'static Metadata<'static>,
    pub(super) text: Text,
    /// It is not to leave the process, and so neither is its count.
    pub(super) suppressed: bool,
}

impl Line {
    pub(super) fn of<B: BuildHasher>(event: &Event<'_>, suppressed: bool, seed: &B) -> Self {
        let from = event.metadata();
        let mut reader = Reader { hasher: seed.build_hasher(), text: Text::default() };
        reader.hasher.write_usize(std::ptr::from_ref(from).addr());
        reader.hasher.write_u8(suppressed.into());
        event.record(&mut reader);
        let mut text = reader.text;
        if text.cut && fingerprint::is_any() {
            text.mask(event);
        }
        Self { hash: reader.hasher.finish(), from, text, suppressed }
    }
}

struct Reader<H> {
    hasher: H,
    text: Text,
}

impl<H: Hasher> Visit for Reader<H> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // A message that cannot be formatted is as good as one that ends there.
            "message" => drop(write!(self, "{value:?}")),
            // Records of the `log` crate are all from one place; what tells them apart is in here.
            "log.target" => drop(write!(Hash(&mut self.hasher), "{value:?}")),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => drop(self.write_str(value)),
            "log.target" => self.hasher.write(value.as_bytes()),
            _ => {}
        }
    }
}

impl<H: Hasher> fmt::Write for Reader<H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.hasher.write(text.as_bytes());
        self.text.push(text);
        Ok(())
    }
}

struct Hash<'a, H>(&'a mut H);

impl<H: Hasher> fmt::Write for Hash<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// All of a message.
struct Whole(String);

impl Visit for Whole {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _cut = write!(self.0, "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.push_str(value);
        }
    }
}

/// The beginning of a message, in place.
#[derive(Clone, Copy)]
pub(super) struct Text {
    bytes: [u8; KEPT],
    len: u8,
    cut: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; KEPT], len: 0, cut: false }
    }
}

impl Text {
    pub(super) fn push(&mut self, text: &str) {
        const MARK: &str = "…";
        if self.cut {
            return;
        }
        let len = usize::from(self.len);
        let fits = text.floor_char_boundary((KEPT - MARK.len()).saturating_sub(len).min(text.len()));
        self.put(&text[..fits]);
        if fits < text.len() {
            self.put(MARK);
            self.cut = true;
        }
    }

    /// Takes the beginning of the message of `event` anew, without live secrets: one that is cut is none that can be known.
    fn mask(&mut self, event: &Event<'_>) {
        let mut whole = Whole(String::new());
        event.record(&mut whole);
        if let Cow::Owned(masked) = fingerprint::mask(&whole.0) {
            *self = Self::default();
            self.push(&masked);
        }
    }

    fn put(&mut self, text: &str) {
        let len = usize::from(self.len);
        if let Some(room) = self.bytes.get_mut(len..len + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.len += u8::try_from(text.len()).unwrap_or(0);
        }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_message_is_kept_with_a_mark_where_it_is_cut() {
        let mut text = Text::default();
        text.push("a collector ");
        text.push("is down");
        assert_eq!(text.as_str(), "a collector is down");
        for part in ["é", "aé"] {
            let mut text = Text::default();
            (0..KEPT).for_each(|_| text.push(part));
            assert!(text.as_str().ends_with("é…") || text.as_str().ends_with("a…"), "{}", text.as_str());
            assert!((KEPT - 4..=KEPT).contains(&text.as_str().len()));
        }
    }
}
