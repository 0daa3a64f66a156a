use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use secrecy::zeroize::Zeroizing;

/// Which header a secret is in, and how.
#[derive(Clone, Debug)]
pub struct Format {
    pub(super) name: HeaderName,
    scheme: Scheme,
}

#[derive(Clone, Debug)]
enum Scheme {
    Bearer,
    /// With the user name and the colon after it.
    Basic(Box<str>),
    Plain,
}

/// No user name of Basic authentication: those have no colon and no control characters (RFC 7617, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUsername;

impl Format {
    /// `Authorization: Bearer SECRET` (RFC 6750, section 2.1).
    pub fn bearer() -> Self {
        Self { name: AUTHORIZATION, scheme: Scheme::Bearer }
    }

    /// `Authorization: Basic`, with `username` and the secret as its password (RFC 7617).
    ///
    /// # Errors
    ///
    /// The user name has a colon or a control character in it.
    pub fn basic(username: &str) -> Result<Self, InvalidUsername> {
        if username.contains(|c: char| c == ':' || c.is_control()) {
            return Err(InvalidUsername);
        }
        Ok(Self { name: AUTHORIZATION, scheme: Scheme::Basic(format!("{username}:").into()) })
    }

    /// `NAME: SECRET`.
    pub fn header(name: HeaderName) -> Self {
        Self { name, scheme: Scheme::Plain }
    }

    /// The header's value; `None` if it would hold nothing, or what cannot be sent. Its memory is wiped in the end.
    pub(super) fn value(&self, secret: &[u8]) -> Option<HeaderValue> {
        let is_control = |byte: &u8| byte.is_ascii_control();
        if secret.is_empty() || secret.iter().any(is_control) {
            return None;
        }
        let prefix = self.prefix();
        // Of their full size from the start: a buffer that grows leaves copies behind.
        let value = match &self.scheme {
            Scheme::Bearer | Scheme::Plain => {
                let mut value = Zeroizing::new(Vec::with_capacity(prefix.len() + secret.len()));
                value.extend_from_slice(prefix);
                value.extend_from_slice(secret);
                value
            }
            Scheme::Basic(user) => {
                let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + secret.len()));
                pair.extend_from_slice(user.as_bytes());
                pair.extend_from_slice(secret);
                let length = base64::encoded_len(pair.len(), true)?;
                let mut value = Zeroizing::new(vec![0; prefix.len() + length]);
                value[..prefix.len()].copy_from_slice(prefix);
                STANDARD.encode_slice(&*pair, &mut value[prefix.len()..]).ok()?;
                value
            }
        };
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether `header` has in it what `value`, which is of this format, holds after its prefix.
    pub(super) fn carries(&self, header: &HeaderValue, value: &HeaderValue) -> bool {
        let secret = &value.as_bytes()[self.prefix().len()..];
        header.as_bytes().windows(secret.len()).any(|window| window == secret)
    }

    fn prefix(&self) -> &'static [u8] {
        match self.scheme {
            Scheme::Bearer => b"Bearer ",
            Scheme::Basic(_) => b"Basic ",
            Scheme::Plain => b"",
        }
    }
}

impl fmt::Display for InvalidUsername {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user name of Basic authentication has no colon and no control characters")
    }
}

impl std::error::Error for InvalidUsername {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_writes_its_header() {
        let key = HeaderName::from_static("x-api-key");
        for (format, name, value) in [
            (Format::bearer(), "authorization", "Bearer hunter2"),
            // The example of RFC 7617, section 2, has another user.
            (Format::basic("Aladdin").expect("a name"), "authorization", "Basic QWxhZGRpbjpodW50ZXIy"),
            (Format::basic("").expect("a name"), "authorization", "Basic Omh1bnRlcjI="),
            (Format::header(key), "x-api-key", "hunter2"),
        ] {
            let made = format.value(b"hunter2").expect("a value");
            assert_eq!((format.name.as_str(), made.as_bytes()), (name, value.as_bytes()));
            assert!(made.is_sensitive());
            assert!(!format!("{made:?} {format:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_cannot_be_in_a_header_is_no_value() {
        for secret in [&b""[..], b"hunter2\n", b"a\r\nx: y", b"a\0", b"\x7f", b"\t"] {
            for format in [Format::bearer(), Format::basic("u").expect("a name"), Format::header(AUTHORIZATION)] {
                assert!(format.value(secret).is_none(), "{secret:?} {format:?}");
            }
        }
        assert!(Format::bearer().value("é".as_bytes()).is_some());
        assert_eq!(Format::basic("a:b").err(), Some(InvalidUsername));
        assert_eq!(Format::basic("a\nb").err(), Some(InvalidUsername));
    }

    #[test]
    fn a_header_carries_a_secret_however_it_is_dressed() {
        let format = Format::bearer();
        let value = format.value(b"hunter2").expect("a value");
        for (header, carries) in [
            ("Bearer hunter2", true),
            ("bearer  hunter2", true),
            ("hunter2", true),
            ("Bearer hunter3", false),
            ("", false),
        ] {
            assert_eq!(format.carries(&HeaderValue::from_static(header), &value), carries, "{header}");
        }
    }
}
