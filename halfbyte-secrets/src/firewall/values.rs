//! The values of an event or a span: whether there is a secret in them, and what they are without it.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::iter;

use halfbyte_core::error_chain;
use halfbyte_core::fingerprint::{is_number, is_there, mask, mask_bytes};
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use tracing::field::{Field, FieldSet, Value, ValueSet, Visit, display};

/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 64 << 10;

thread_local! {
    /// Away while it is used, so that a value that logs while it is formatted finds none.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// Whether one of the values that `record` shows has a live secret in it.
pub(super) fn is_secret(record: impl FnOnce(&mut Look)) -> bool {
    let buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    let mut look = Look { buffer, found: false };
    record(&mut look);
    let Look { mut buffer, found } = look;
    if found {
        buffer.zeroize();
    }
    if buffer.capacity() <= KEPT {
        // A thread that ends needs it no more.
        let _ended = BUFFER.try_with(|kept| kept.set(buffer));
    }
    found
}

pub(super) struct Look {
    buffer: String,
    found: bool,
}

impl Look {
    fn shown(&mut self, value: fmt::Arguments<'_>) {
        if !self.found {
            self.buffer.clear();
            // A value that cannot be formatted is as good as one that ends there.
            let _cut = self.buffer.write_fmt(value);
            self.found = is_there(self.buffer.as_bytes());
        }
    }
}

impl Visit for Look {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.shown(format_args!("{value:?}"));
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        self.found = self.found || is_there(value.as_bytes());
    }

    fn record_bytes(&mut self, _: &Field, value: &[u8]) {
        self.found = self.found || is_there(value);
    }

    fn record_error(&mut self, _: &Field, value: &(dyn Error + 'static)) {
        let mut next = Some(value);
        while let Some(error) = next {
            self.shown(format_args!("{error}"));
            self.shown(format_args!("{error:?}"));
            next = error.source();
        }
    }

    fn record_bool(&mut self, _: &Field, _: bool) {}

    fn record_f64(&mut self, _: &Field, value: f64) {
        self.shown(format_args!("{value}"));
    }

    fn record_i64(&mut self, _: &Field, value: i64) {
        self.found = self.found || is_number(value);
    }

    fn record_u64(&mut self, _: &Field, value: u64) {
        self.found = self.found || is_number(value);
    }
}

/// Values without secrets, by the index of their fields.
pub(super) struct Masked(Vec<Option<Box<dyn Value>>>);

impl Masked {
    pub(super) fn of(fields: &FieldSet, record: impl FnOnce(&mut Self)) -> Self {
        let mut masked = Self(iter::repeat_with(|| None).take(fields.len()).collect());
        record(&mut masked);
        masked
    }

    pub(super) fn with<R>(&self, fields: &FieldSet, then: impl FnOnce(&ValueSet<'_>) -> R) -> R {
        let values: Vec<Option<&dyn Value>> = self.0.iter().map(Option::as_deref).collect();
        then(&fields.value_set_all(&values))
    }

    fn set(&mut self, field: &Field, value: impl Value + 'static) {
        if let Some(place) = self.0.get_mut(field.index()) {
            *place = Some(Box::new(value));
        }
    }

    /// As it is shown.
    fn shown(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Zeroizing::new(String::new());
        let _cut = text.write_fmt(value);
        self.set(field, display(mask(&text).into_owned()));
    }

    fn number(&mut self, field: &Field, value: impl Value + fmt::Display + 'static) {
        if is_there(value.to_string().as_bytes()) {
            self.shown(field, format_args!("{value}"));
        } else {
            self.set(field, value);
        }
    }
}

impl Visit for Masked {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.shown(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, mask(value).into_owned());
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        if is_there(value) {
            self.set(field, String::from_utf8_lossy(&mask_bytes(value)).into_owned());
        } else {
            self.set(field, Box::<[u8]>::from(value));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let chain = Zeroizing::new(error_chain(value));
        self.shown(field, format_args!("{}", *chain));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field, value);
    }
}
