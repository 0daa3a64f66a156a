//! Which parts of structured secrets are secret by themselves.

use std::borrow::Cow;
use std::fmt;

use secrecy::zeroize::{Zeroize as _, Zeroizing};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use url::Url;

/// Whose texts are public. What is not here is secret: a name too few masks too much, one too many leaks.
const PUBLIC_FIELDS: [&str; 12] = [
    "username",
    "user",
    "host",
    "hostname",
    "port",
    "dbname",
    "database",
    "engine",
    "scheme",
    "region",
    "dbInstanceIdentifier",
    "dbClusterIdentifier",
];

/// Parameters of connection URLs that are public.
const PUBLIC_PARAMETERS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "channel_binding",
    "application_name",
    "connect_timeout",
    "statement_timeout",
    "target_session_attrs",
    "timezone",
    "client_encoding",
    "charset",
    "options",
];

/// Hands over each text in `json` that has no public name.
pub(crate) fn of_json(json: &[u8], part: &mut dyn FnMut(&[u8])) {
    let _was_parsed_before =
        Leaves { part, is_public: false }.deserialize(&mut serde_json::Deserializer::from_slice(json));
}

/// Hands over the password and the values in `url`, and how it is read if that is not how it was written.
pub(crate) fn of_url(url: &[u8], part: &mut dyn FnMut(&[u8])) {
    let Some(url) = str::from_utf8(url).ok().and_then(|text| Url::parse(text).ok()) else { return };
    part(url.as_str().as_bytes());
    if let Some(password) = url.password() {
        part(password.as_bytes());
        // Decoded it is no longer than that.
        let mut decoded = Zeroizing::new(Vec::with_capacity(password.len()));
        decoded.extend(percent_decoded(password.as_bytes()));
        part(&decoded);
    }
    for (name, value) in url.query_pairs() {
        if !PUBLIC_PARAMETERS.contains(&&*name) {
            part(value.as_bytes());
        }
        if let Cow::Owned(mut value) = value {
            value.zeroize();
        }
    }
    String::from(url).zeroize();
}

fn percent_decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *text.get(at)?;
        let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let encoded = digit(at + 1).zip(digit(at + 2)).filter(|_| byte == b'%');
        at += if encoded.is_some() { 3 } else { 1 };
        Some(encoded.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()).unwrap_or(byte))
    })
}

/// Walks through JSON and keeps nothing of it.
struct Leaves<'a> {
    part: &'a mut dyn FnMut(&[u8]),
    /// Whether the text, or the list of texts, has a public name.
    is_public: bool,
}

impl<'de> DeserializeSeed<'de> for Leaves<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaves<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if !self.is_public {
            (self.part)(text.as_bytes());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Leaves { part: self.part, is_public: self.is_public })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(is_public) = map.next_key_seed(IsPublic)? {
            map.next_value_seed(Leaves { part: self.part, is_public })?;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Whether the name of a field is a public one's.
struct IsPublic;

impl<'de> DeserializeSeed<'de> for IsPublic {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsPublic {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(PUBLIC_FIELDS.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use crate::{FromSecret, Json, SecretUrl};

    fn parts<T: FromSecret>(bytes: &str) -> Vec<String> {
        let mut parts = Vec::new();
        T::secret_parts(bytes.as_bytes(), &mut |part| parts.push(String::from_utf8_lossy(part).into_owned()));
        parts
    }

    #[test]
    fn text_is_secret_as_a_whole_without_the_space_around_it() {
        assert_eq!(parts::<String>(" hunter2\n"), ["hunter2"]);
        assert_eq!(parts::<Option<Vec<u8>>>("hunter2\n"), ["hunter2"]);
    }

    #[test]
    fn json_is_secret_as_a_whole_and_in_each_text_that_is_not_public() {
        let json = r#"{"username":"ada","password":"p\"w","host":["h",{"x":"y"}],"port":5432,"more":[{"key":"k","on":true}],"none":null}"#;
        assert_eq!(parts::<Json<String>>(json), [json, "p\"w", "y", "k"]);
        assert_eq!(parts::<Option<Json<String>>>("\"alone\" "), ["\"alone\"", "alone"]);
    }

    #[test]
    fn a_url_is_secret_as_a_whole_and_in_its_password_and_parameters() {
        let url = "postgres://ada:p%40ss@db/x?sslmode=verify-full&token=a+b";
        assert_eq!(parts::<SecretUrl>(url), [url, url, "p%40ss", "p@ss", "a b"]);
        let url = "https://Shop.example?sig=x";
        assert_eq!(parts::<SecretUrl>(url), [url, "https://shop.example/?sig=x", "x"]);
        assert_eq!(parts::<Option<SecretUrl>>("https://h/"), ["https://h/", "https://h/"]);
    }
}
