//! What must not leave the process in telemetry, and its removal from all three signals before they are queued.

mod apply;
#[cfg(test)]
mod corpus;
mod keys;
mod pairs;
mod processor;
mod sensitive;
mod shapes;
mod text;
mod values;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub(crate) use self::processor::Scrub;
pub use self::sensitive::Sensitive;

/// What stands in place of what was removed.
pub(crate) const REDACTED: &str = "REDACTED";

/// The rules by which secrets are removed from telemetry. Immutable; cloning is a reference count.
///
/// # By name
///
/// The value of an attribute, a field or a header is removed whole when the last words of its name are those of a secret,
/// however they are written (`user.password`, `accessToken`, `X-API-KEY`, `password_hash`): password, passwd, pwd,
/// passphrase, passcode, secret, token, jwt, bearer, dpop, authorization, cookie, session, session id, sid, credential,
/// signature; and key after one of access, account, api, app, auth, client, decryption, encryption, hmac, host, license,
/// master, private, secret, session, shared, signing, ssh. What such a word merely begins is none: `token.type`,
/// `signature_algorithm`; nor are other keys: `http.route.key`, `primary_key`, `feature_flag.key`; nor plurals of `token`,
/// which are counted (`gen_ai.usage.input_tokens`), and `session.id` of the semantic conventions. A boolean stays.
///
/// # By what it looks like
///
/// In every text, wherever it stands:
///
/// - in the query (and fragment) of a URL the values of the parameters that the semantic conventions list
///   (`X-Amz-Signature`, `X-Amz-Credential`, `X-Amz-Security-Token`, `sig`, `X-Goog-Signature`, and of older versions
///   `AWSAccessKeyId`, `Signature`), of every name above, and of `key`, `code`, `auth`, `pass`, `pw`, `pin`, `otp`,
///   `ticket`, `assertion`, `SAMLResponse`, `GoogleAccessId`; in any case, where the conventions ask for the exact one; and
///   the whole value of any other parameter that is itself an encoded URL or query with a secret (`?next=%2F%3Fcode%3D5x`),
///   up to three times encoded;
/// - `user:password@` in a URL or a connection string, which becomes `REDACTED:REDACTED@`; the password has no `/`, which has
///   to be encoded there;
/// - `name=value`, `"name":"value"`, `name: value` and `Name("value")` with a name as above, and lists as values, also in JSON that
///   is up to three times escaped; after a colon only what does not look like prose (`token: expired` stays), in quotes too
///   where a word is before the name (``unexpected token: `}` ``);
/// - what follows `Bearer`, `Basic` and `DPoP`; JSON web tokens; private keys in PEM; API keys of HalfByte, AWS, GitHub,
///   GitLab, Google, Slack and Stripe.
///
/// # By its value
///
/// Each live secret of the process, which [`halfbyte_core::fingerprint`] knows, becomes `[REDACTED]`: in every text too, also
/// escaped, percent-encoded, in base64 and in hexadecimal.
///
/// It takes time linear in the text, whatever that holds, and allocates only when something is found or the value
/// of a parameter is encoded.
///
/// A text of which nothing tells that it is a secret stays: wrap those in [`Sensitive`], or configure their names.
///
/// ```
/// use halfbyte_observe::Redaction;
///
/// let redaction = Redaction::builder().key("card_number").build();
/// assert_eq!(redaction.text("GET https://ada:pw@parcel.example/?code=5x&page=2"),
///     "GET https://REDACTED:REDACTED@parcel.example/?code=REDACTED&page=2");
/// assert_eq!(redaction.text("card_number=4111111111111111"), "card_number=REDACTED");
/// ```
#[derive(Clone)]
pub struct Redaction(Arc<Rules>);

#[derive(Default)]
pub(super) struct Rules {
    names: Vec<Box<[Box<str>]>>,
    query: Vec<Box<str>>,
    left: Vec<Box<str>>,
}

impl Redaction {
    /// Starts from the rules above.
    pub fn builder() -> RedactionBuilder {
        RedactionBuilder(Rules::default())
    }

    /// `text` without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        text::redact(&self.0, text, false)
    }

    /// The query of a URL without secrets.
    pub fn query<'a>(&self, query: &'a str) -> Cow<'a, str> {
        text::redact(&self.0, query, true)
    }

    /// Whether what is called `name` is a secret.
    pub(crate) fn names_a_secret(&self, name: &str) -> bool {
        self.0.names_a_secret(name)
    }
}

impl Default for Redaction {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").finish_non_exhaustive()
    }
}

impl Rules {
    fn names_a_secret(&self, key: &str) -> bool {
        keys::names_a_secret(key, &self.names) && !self.left.iter().any(|left| **left == *key)
    }

    fn is_secret_in_query(&self, key: &str) -> bool {
        keys::is_secret_in_query(key, &self.names, &self.query) && !self.left.iter().any(|left| **left == *key)
    }
}

/// Adds to the rules of a [`Redaction`].
pub struct RedactionBuilder(Rules);

impl RedactionBuilder {
    /// What ends with the words of `name` is a secret too, as an attribute, a field, a setting and in a query:
    /// `card_number` is also `payment.cardNumber`.
    #[must_use]
    pub fn key(mut self, name: &str) -> Self {
        let words = keys::compiled(name);
        // No words would be the end of every name.
        if !words.is_empty() {
            self.0.names.push(words);
        }
        self
    }

    /// The parameter `name` of a query is a secret too, in any case.
    #[must_use]
    pub fn query_key(mut self, name: &str) -> Self {
        self.0.query.push(name.into());
        self
    }

    /// The exact `name` is none of a secret, whatever it ends with. What looks like a secret is still removed.
    #[must_use]
    pub fn leave(mut self, name: &str) -> Self {
        self.0.left.push(name.into());
        self
    }

    /// The rules.
    pub fn build(self) -> Redaction {
        Redaction(Arc::new(self.0))
    }
}

impl fmt::Debug for RedactionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactionBuilder").finish_non_exhaustive()
    }
}
