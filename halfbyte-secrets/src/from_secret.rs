//! What a secret can be made into.

use std::fmt;

use secrecy::zeroize::Zeroize;
use secrecy::{SecretSlice, SecretString};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use url::Url;

use crate::handle::REDACTED;
use crate::parts;

/// A type that a secret's bytes can be made into.
///
/// ```
/// use halfbyte_secrets::zeroize::Zeroize;
/// use halfbyte_secrets::{FromSecret, ParseError};
///
/// struct Pin([u8; 4]);
///
/// impl Zeroize for Pin {
///     fn zeroize(&mut self) {
///         self.0.zeroize();
///     }
/// }
///
/// impl FromSecret for Pin {
///     fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
///         bytes.try_into().map(Pin).map_err(|_| ParseError::new("a pin has four digits"))
///     }
/// }
/// assert_eq!(Pin::from_secret(b"12345").err().unwrap().to_string(), "a pin has four digits");
/// ```
pub trait FromSecret: Zeroize + Sized + Send + Sync + 'static {
    /// Parses `bytes`.
    ///
    /// The answer is moved to its place, where it is wiped in the end. Bytes that it has within itself, as an array, may leave a
    /// copy on the stack on the way, which is overwritten by what comes later and not before: `Box<[u8; 32]>` in place of
    /// `[u8; 32]` leaves none.
    ///
    /// # Errors
    ///
    /// They are not a `Self`. The error cannot hold the input, by its type.
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError>;

    /// Hands `part` each part of `bytes` that must not be seen anywhere: what the leak firewall masks while the value lives. All
    /// of it, without the white space around it, unless a type knows better. `bytes` are those that
    /// [`from_secret`](Self::from_secret) has accepted.
    fn secret_parts(bytes: &[u8], part: &mut dyn FnMut(&[u8])) {
        part(bytes.trim_ascii());
    }

    /// What stands for a secret that the backend does not have; `None` if that is an error, as it is unless said.
    fn absent() -> Option<Self> {
        None
    }
}

/// The bytes of a secret are not what was asked for. Holds fixed text and a place, so that it cannot hold the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    message: &'static str,
    place: Option<(usize, usize)>,
}

impl ParseError {
    /// `message` says what was asked for.
    pub fn new(message: &'static str) -> Self {
        Self { message, place: None }
    }

    /// Adds where the input went wrong, counted from 1.
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Self {
        self.place = Some((line, column));
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)?;
        self.place.map_or(Ok(()), |(line, column)| write!(f, ", at line {line} column {column}"))
    }
}

impl std::error::Error for ParseError {}

fn text(bytes: &[u8]) -> Result<&str, ParseError> {
    str::from_utf8(bytes).map_err(|_| ParseError::new("it is not UTF-8 text"))
}

impl FromSecret for String {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        text(bytes).map(str::to_owned)
    }
}

impl FromSecret for SecretString {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        text(bytes).map(SecretString::from)
    }
}

impl FromSecret for Vec<u8> {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        Ok(bytes.to_vec())
    }
}

impl FromSecret for SecretSlice<u8> {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        Ok(bytes.to_vec().into())
    }
}

/// A secret that may be missing: `None` while the backend says that it does not have it.
impl<T: FromSecret> FromSecret for Option<T> {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        T::from_secret(bytes).map(Some)
    }

    fn secret_parts(bytes: &[u8], part: &mut dyn FnMut(&[u8])) {
        T::secret_parts(bytes, part);
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A secret that is JSON, such as a user name and password together.
///
/// `T` says how it is wiped; `#[derive(Zeroize)]` of the crate `zeroize` does.
pub struct Json<T>(pub T);

impl<T: Zeroize> Zeroize for Json<T> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<T: DeserializeOwned + Zeroize + Send + Sync + 'static> FromSecret for Json<T> {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        serde_json::from_slice(bytes).map(Json).map_err(|error| not_json(&error))
    }

    /// All of it, and each text in it but for those that are public by their name: user names, hosts, ports and the like.
    fn secret_parts(bytes: &[u8], part: &mut dyn FnMut(&[u8])) {
        part(bytes.trim_ascii());
        parts::of_json(bytes, part);
    }
}

/// The message of the parser quotes what it found, so only its place is kept.
pub(crate) fn not_json(error: &serde_json::Error) -> ParseError {
    let message = match error.classify() {
        serde_json::error::Category::Data => "it is JSON of another shape than was asked for",
        _ => "it is not JSON",
    };
    ParseError::new(message).at(error.line(), error.column())
}

/// A secret that is a URL, such as one with a password in it.
pub struct SecretUrl(Url);

impl SecretUrl {
    /// The URL, with all that is in it.
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

impl FromSecret for SecretUrl {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        Url::parse(text(bytes)?).map(SecretUrl).map_err(|_| ParseError::new("it is not a URL"))
    }

    /// All of it, as it was written and as it is read; the password; and the values of the query but for those that are public
    /// by their name, such as `sslmode`.
    fn secret_parts(bytes: &[u8], part: &mut dyn FnMut(&[u8])) {
        part(bytes.trim_ascii());
        parts::of_url(bytes, part);
    }
}

impl Zeroize for SecretUrl {
    fn zeroize(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites the text of `url`.
pub(crate) fn wipe(url: &mut Url) {
    let empty = Url::parse("data:,").expect("this is a URL");
    // Taking the text out of a URL does not copy it.
    String::from(std::mem::replace(url, empty)).zeroize();
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({REDACTED})")
    }
}

impl<T> fmt::Display for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({REDACTED})")
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parse_error_never_holds_the_input() {
        let cut_off = br#"["hunter2""#;
        let wrong_shape = br#"["a", {"hunter2": 1}]"#;
        let wrong_type = br#""hunter2""#;
        let errors = [
            Json::<Vec<String>>::from_secret(cut_off).err(),
            Json::<Vec<String>>::from_secret(wrong_shape).err(),
            Json::<Vec<String>>::from_secret(wrong_type).err(),
            SecretUrl::from_secret(b"hunter2").err(),
            String::from_secret(b"hunter2\xff").err(),
            SecretString::from_secret(b"hunter2\xff").err(),
        ];
        for error in errors {
            let error = error.expect("each input is bad");
            assert!(!format!("{error} {error:?} {error:#?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn json_and_urls_print_nothing_of_themselves() {
        let json = Json(String::from("hunter2"));
        let url = SecretUrl::from_secret(b"postgres://u:hunter2@db/x").expect("a URL");
        assert_eq!(url.as_url().password(), Some("hunter2"));
        let printed = format!("{json} {json:?} {json:#?} {url} {url:?} {url:#?}");
        let serialized = serde_json::to_string(&(&json, &url)).expect("serialized");
        assert!(!printed.contains("hunter2") && !serialized.contains("hunter2"), "{printed} {serialized}");
        assert_eq!(serialized, r#"["[REDACTED]","[REDACTED]"]"#);
    }

    #[test]
    fn a_url_is_wiped() {
        let mut url = SecretUrl::from_secret(b"postgres://u:hunter2@db/x").expect("a URL");
        url.zeroize();
        assert_eq!(url.as_url().as_str(), "data:,");
    }
}
