//! A user name and a password for a database, in the shapes in which backends keep them.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use secrecy::zeroize::{Zeroize, Zeroizing};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::from_secret::{not_json, wipe};
use crate::handle::REDACTED;
use crate::{FromSecret, ParseError, parts};

/// What a database asks for, and where that is if the secret says so.
///
/// A secret that is one of these can be made into it:
///
/// - `{"username": "...", "password": "..."}`, as OpenBao and Vault answer dynamic credentials;
/// - the same with `host`, `port` and `dbname`, as AWS keeps them for RDS; what else there is counts for nothing;
/// - `postgres://user:password@host:port/database`, percent-encoded where it must be. It may not have parameters:
///   `sslmode` and the like are for the options of a connection, not for who rotates its password.
///
/// ```
/// use halfbyte_secrets::{Credential, ExposeSecret, FromSecret};
///
/// let credential = Credential::from_secret(br#"{"username": "app", "password": "hunter2"}"#).unwrap();
/// assert_eq!((credential.username(), credential.password().expose_secret()), ("app", "hunter2"));
/// assert_eq!(format!("{credential:?}"), "Credential([REDACTED])");
/// ```
pub struct Credential {
    username: String,
    password: SecretString,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
}

impl Credential {
    /// Who logs in.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// With what.
    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// The server's name or address; `None` if the secret does not say.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The server's port; `None` if the secret does not say.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The database on the server; `None` if the secret does not say.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    fn checked(self) -> Result<Self, ParseError> {
        use secrecy::ExposeSecret as _;
        let password = self.password.expose_secret();
        if self.username.is_empty() || password.is_empty() {
            return Err(ParseError::new("a database credential needs a user name and a password that are not empty"));
        }
        // In the protocol of PostgreSQL this ends a text, and what follows would be read as something else.
        let texts = [Some(self.username.as_str()), Some(password), self.host(), self.database()];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(ParseError::new("a part of the database credential has a NUL in it"));
        }
        Ok(self)
    }
}

impl FromSecret for Credential {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        let credential = match bytes.trim_ascii_start().first() {
            Some(b'{') => of_json(bytes),
            _ => of_url(bytes.trim_ascii()),
        };
        credential?.checked()
    }

    fn secret_parts(bytes: &[u8], part: &mut dyn FnMut(&[u8])) {
        part(bytes.trim_ascii());
        match bytes.trim_ascii_start().first() {
            Some(b'{') => parts::of_json(bytes, part),
            _ => parts::of_url(bytes, part),
        }
    }
}

impl Zeroize for Credential {
    fn zeroize(&mut self) {
        self.username.zeroize();
        self.password.zeroize();
        self.host.zeroize();
        self.port.zeroize();
        self.database.zeroize();
    }
}

/// The texts are borrowed from the input where nothing in them is escaped, so that no copy of a password is left behind.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    password: Cow<'a, str>,
    host: Option<String>,
    port: Option<Port>,
    #[serde(alias = "database")]
    dbname: Option<String>,
}

impl Zeroize for Fields<'_> {
    fn zeroize(&mut self) {
        if let Cow::Owned(password) = &mut self.password {
            password.zeroize();
        }
    }
}

fn of_json(bytes: &[u8]) -> Result<Credential, ParseError> {
    let mut fields: Fields<'_> = serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
    let credential = Credential {
        username: fields.username.to_string(),
        // Of its exact size, so that becoming a `SecretString` does not move it.
        password: SecretString::from(String::from(&*fields.password)),
        host: fields.host.take(),
        port: fields.port.as_ref().map(|port| port.0),
        database: fields.dbname.take(),
    };
    fields.zeroize();
    Ok(credential)
}

/// A number, or the same as text: both are about.
struct Port(u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                number.try_into().map(Port).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                text.parse().map(Port).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

fn of_url(bytes: &[u8]) -> Result<Credential, ParseError> {
    let not_one = ParseError::new("it is neither a JSON object nor a postgres:// URL");
    let text = str::from_utf8(bytes).map_err(|_| not_one.clone())?;
    let mut url = Url::parse(text).map(Wiped).map_err(|_| not_one.clone())?;
    let url = &mut url.0;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(not_one);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ParseError::new("the URL has parameters: set them in the options of the connection"));
    }
    let database = decoded(url.path().trim_start_matches('/'))?;
    Ok(Credential {
        username: decoded(url.username())?,
        password: decoded(url.password().unwrap_or_default())?.into(),
        host: url.host_str().filter(|host| !host.is_empty()).map(unbracketed).map(decoded).transpose()?,
        port: url.port(),
        database: Some(database).filter(|database| !database.is_empty()),
    })
}

/// The text of a URL, overwritten when it is dropped.
struct Wiped(Url);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Of an IPv6 address, what a resolver takes.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// In a buffer of its exact size, which leaves no copies.
fn decoded(text: &str) -> Result<String, ParseError> {
    let bytes = percent_decode_str(text);
    let mut buffer = Zeroizing::new(Vec::with_capacity(bytes.clone().count()));
    buffer.extend(bytes);
    String::from_utf8(std::mem::take(&mut *buffer)).map_err(|error| {
        error.into_bytes().zeroize();
        ParseError::new("the URL is not percent-encoded UTF-8")
    })
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({REDACTED})")
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Credential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    type Parts<'a> = (&'a str, &'a str, Option<&'a str>, Option<u16>, Option<&'a str>);

    fn parts(credential: &Credential) -> Parts<'_> {
        let Credential { username, password, .. } = credential;
        (username, password.expose_secret(), credential.host(), credential.port(), credential.database())
    }

    #[test]
    fn each_shape_gives_what_it_holds() {
        let rds = r#" {"engine": "postgres", "username": "app", "password": "p", "host": "db.internal", "port": 6432,
            "dbname": "orders", "dbInstanceIdentifier": "x"}"#;
        let table: [(&str, Parts<'_>); 9] = [
            (r#"{"username": "app", "password": "p"}"#, ("app", "p", None, None, None)),
            (r#"{"password": "a\"\u00e9\\", "username": "app"}"#, ("app", "a\"é\\", None, None, None)),
            (rds, ("app", "p", Some("db.internal"), Some(6432), Some("orders"))),
            (r#"{"username": "a", "password": "p", "port": "5433", "host": null}"#, ("a", "p", None, Some(5433), None)),
            ("postgres://app:p@db/orders", ("app", "p", Some("db"), None, Some("orders"))),
            ("postgresql://app:p%40%3A%2F@db:6432\n", ("app", "p@:/", Some("db"), Some(6432), None)),
            ("postgres://a%20b:%C3%A9@[::1]:1/a%2Fb", ("a b", "é", Some("::1"), Some(1), Some("a/b"))),
            ("postgres://app:p@/orders", ("app", "p", None, None, Some("orders"))),
            ("postgres://app:p@%2Frun%2Fpg/x", ("app", "p", Some("/run/pg"), None, Some("x"))),
        ];
        for (input, expected) in table {
            match Credential::from_secret(input.as_bytes()) {
                Ok(credential) => assert_eq!(parts(&credential), expected, "{input}"),
                // An authority without a host is not a URL for everybody.
                Err(error) => assert!(expected.2.is_none() && input.starts_with("postgres:"), "{input}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_no_credential_is_refused_without_a_word_of_it() {
        for input in [
            "",
            "hunter2",
            "hunter2:hunter2",
            "{\"username\": \"hunter2\"}",
            "{\"username\": \"hunter2\", \"password\": 5}",
            "{\"username\": \"hunter2\", \"password\": \"\"}",
            "{\"username\": \"\", \"password\": \"hunter2\"}",
            "{\"username\": \"app\", \"password\": \"hunter2\", \"port\": 70000}",
            "{\"username\": \"app\", \"password\": \"hunter2\", \"port\": \"hunter2\"}",
            "{\"username\": \"app\\u0000\", \"password\": \"hunter2\"}",
            "{\"username\": \"app\", \"password\": \"hunter2\"",
            "mysql://app:hunter2@db/x",
            "postgres://hunter2@db/x",
            "postgres://:hunter2@db/x",
            "postgres://app:hunter2@db/x?sslmode=disable",
            "postgres://app:hunter2%FF@db/x",
            "postgres://app:hunter2%00@db/x",
        ] {
            let error = Credential::from_secret(input.as_bytes()).expect_err(input);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let credential = Credential::from_secret(b"postgres://user7:hunter2@db7/base7").expect("a credential");
        let printed = format!("{credential} {credential:?} {credential:#?}");
        let serialized = serde_json::to_string(&credential).expect("serialized");
        for part in ["user7", "hunter2", "db7", "base7"] {
            assert!(!printed.contains(part) && !serialized.contains(part), "{printed} {serialized}");
        }
    }

    #[test]
    fn it_is_wiped_whole() {
        let mut credential = Credential::from_secret(b"postgres://u:p@db:1/x").expect("a credential");
        credential.zeroize();
        assert_eq!(parts(&credential), ("", "\0", None, None, None));
    }

    proptest! {
        #[test]
        fn any_user_and_password_survive_json_and_url(username in "[^\0]{1,12}", password in "[^\0]{1,24}") {
            let json = serde_json::json!({"username": username, "password": password}).to_string();
            let encoded = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let url = format!("postgres://{}:{}@db/x", encoded(&username), encoded(&password));
            for input in [json, url] {
                let credential = Credential::from_secret(input.as_bytes()).expect("a credential");
                prop_assert_eq!(credential.username(), &username);
                prop_assert_eq!(credential.password().expose_secret(), &password);
            }
        }

        #[test]
        fn no_input_makes_it_panic(input in proptest::collection::vec(any::<u8>(), 0..64), tail in "[ -~]{0,40}") {
            let _any = Credential::from_secret(&input);
            let _any = Credential::from_secret(format!("postgres://{tail}").as_bytes());
            let _any = Credential::from_secret(format!("{{{tail}").as_bytes());
        }
    }
}
