//! Which parts of structured secrets are secret by themselves.

use std::borrow::Cow;
use std::fmt;

use secrecy::zeroize::{Zeroize as _, Zeroizing};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use url::Url;

/// Whose texts are public. A name too few masks too much, one too many leaks.
const PUBLIC_FIELDS: [&str; 43] = [
    "username",
    "user",
    "host",
    "hostname",
    "port",
    "dbname",
    "database",
    "schema",
    "engine",
    "driver",
    "dialect",
    "scheme",
    "protocol",
    "region",
    "location",
    "zone",
    "type",
    "kind",
    "environment",
    "env",
    "stage",
    "dbInstanceIdentifier",
    "dbClusterIdentifier",
    "masterarn",
    "project_id",
    "client_email",
    "client_id",
    "universe_domain",
    "endpoint",
    "bucket",
    "issuer",
    "audience",
    "realm",
    "algorithm",
    "alg",
    "kty",
    "ssl",
    "sslmode",
    "ssl_mode",
    "sslrootcert",
    "ssl_ca",
    "sslcert",
    "ssl_cert",
];

/// What a name ends in whose text is an address: public if there is nothing but the way to a place in it.
const ADDRESSES: [&str; 4] = ["_uri", "_url", "Uri", "Url"];

/// What is in names whose texts are secret, even if they look like ordinary words.
const SECRET_NAMES: [&str; 7] = ["pass", "pwd", "secret", "token", "key", "cred", "phrase"];

/// An ordinary word is no longer; nor is a part of an ordinary address, while tokens are.
const LONGEST_WORD: usize = 16;

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

/// Hands over each text in `json` that is not public by its name, nor an ordinary word under a name that does not say that it is
/// secret: to mask those would be to mask them in each line.
pub(crate) fn of_json(json: &[u8], part: &mut dyn FnMut(&[u8])) {
    let leaves = Leaves { part, named: Named::Secret };
    let _was_parsed_before = leaves.deserialize(&mut serde_json::Deserializer::from_slice(json));
}

/// What the name of a field says of its text.
#[derive(Clone, Copy)]
enum Named {
    Public,
    Address,
    Secret,
    Otherwise,
}

impl Named {
    fn by(name: &str) -> Self {
        let holds =
            |part: &&str| name.as_bytes().windows(part.len()).any(|at| at.eq_ignore_ascii_case(part.as_bytes()));
        if PUBLIC_FIELDS.contains(&name) {
            Self::Public
        } else if ADDRESSES.iter().any(|ending| name.ends_with(ending)) {
            Self::Address
        } else if SECRET_NAMES.iter().any(holds) {
            Self::Secret
        } else {
            Self::Otherwise
        }
    }

    fn is_secret(self, text: &str) -> bool {
        match self {
            Self::Public => false,
            Self::Address => !is_plain_address(text),
            Self::Secret => true,
            Self::Otherwise => !(text.len() <= LONGEST_WORD && text.bytes().all(|byte| byte.is_ascii_lowercase())),
        }
    }
}

/// Whether there is neither a user in it, nor a parameter, nor a part of a path that is long enough to be a token, as those of
/// webhooks have.
fn is_plain_address(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_short = |path: std::str::Split<'_, char>| path.into_iter().all(|part| part.len() <= LONGEST_WORD);
    let is_plain = url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.path_segments().is_none_or(is_short);
    String::from(url).zeroize();
    is_plain
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
    /// How the text, or the list of texts, is named.
    named: Named,
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
        if self.named.is_secret(text) {
            (self.part)(text.as_bytes());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Leaves { part: self.part, named: self.named })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(named) = map.next_key_seed(Name)? {
            map.next_value_seed(Leaves { part: self.part, named })?;
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

/// The name of a field.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Named;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Named, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Named, E> {
        Ok(Named::by(name))
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
        let json = r#"{"username":"ada","password":"p\"w","host":["h",{"x":"y2"}],"port":5432,"more":[{"key":"k","on":true}],"none":null}"#;
        assert_eq!(parts::<Json<String>>(json), [json, "p\"w", "y2", "k"]);
        assert_eq!(parts::<Option<Json<String>>>("\"alone\" "), ["\"alone\"", "alone"]);
    }

    #[test]
    fn what_stands_in_every_line_is_no_secret_of_its_own() {
        let cases: [(&str, &str, bool); 21] = [
            ("type", "service_account", false),
            ("environment", "production", false),
            ("masterarn", "arn:aws:rds:eu-central-1:1:db:orders", false),
            ("client_email", "shop@project-12.iam.gserviceaccount.com", false),
            ("token_uri", "https://oauth2.googleapis.com/token", false),
            ("auth_provider_x509_cert_url", "https://www.googleapis.com/oauth2/v1/certs", false),
            ("baseUrl", "https://api.example.com/v2/", false),
            ("database_url", "postgres://ada:hunter2@db/x", true),
            ("database_url", "postgres://ada@db/x", true),
            ("database_url", "postgres://db/x?password=hunter2", true),
            ("callback_url", "https://example.com/#hunter2", true),
            ("webhook_url", "https://hooks.example.com/services/T0001/B0001/Xa81kPqz77Lm20Yrt5Wc3VbN", true),
            ("token_url", "no address", true),
            ("mode", "replication", false),
            ("mode", "replications-2", true),
            ("mode", "Replication", true),
            ("mode", "abcdefghijklmnopq", true),
            ("password", "correcthorse", true),
            ("apiKey", "correcthorse", true),
            ("sslpassword", "correcthorse", true),
            ("private_key_id", "7f3a", true),
        ];
        for (name, value, is_secret) in cases {
            let json = format!(r#"{{"{name}":"{value}"}}"#);
            let mut expected = vec![json.as_str()];
            expected.extend(is_secret.then_some(value));
            assert_eq!(parts::<Json<String>>(&json), expected);
        }
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
