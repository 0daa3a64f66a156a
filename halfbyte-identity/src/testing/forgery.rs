use std::sync::Arc;

use aws_lc_rs::hmac;
use serde_json::{Map, Value, json};

use super::certificate;
use super::issuer::Issuer;
use super::persona::Persona;
use super::signer::{Owner, Signer, b64, pem};
use crate::jose::Algorithm;

/// What attacks are made of: good tokens, the issuer's key, and a key that is not the issuer's.
pub(super) struct Forgery<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) audience: &'a str,
    pub(super) persona: &'a Persona,
    /// The key of the issuer: what is signed with it has a good signature.
    pub(super) signer: Arc<Signer>,
    /// A key of the same algorithm and the same id that is nobody's.
    pub(super) stranger: Signer,
    /// A key on P-256 that is nobody's, and its certificate.
    pub(super) notary: Signer,
    pub(super) certificate: Vec<u8>,
    /// A token that must be accepted.
    pub(super) good: String,
    claims: Map<String, Value>,
}

impl<'a> Forgery<'a> {
    /// The stranger's keys are where attacks will point to.
    pub(super) fn new(issuer: &'a Issuer, audience: &'a str, persona: &'a Persona) -> Self {
        let signer = issuer.signer();
        let stranger = Signer::generate(signer.algorithm(), signer.key_id(), Owner::Stranger);
        let notary = Signer::generate(Algorithm::Es256, signer.key_id(), Owner::Stranger);
        let certificate = certificate::self_signed(&notary, "stranger").unwrap_or_default();
        {
            let mut state = issuer.shared().state();
            state.stranger_keys = json!({"keys": [stranger.jwk()]}).to_string();
            state.stranger_chain = pem("CERTIFICATE", &certificate);
        }
        let claims = persona.claims_for(issuer.id(), audience, issuer.shared().now());
        let good = signer.token(signer.header().to_string(), Value::Object(claims.clone()).to_string());
        Self { issuer, audience, persona, signer, stranger, notary, certificate, good, claims }
    }

    pub(super) fn now(&self) -> i64 {
        self.issuer.shared().now().as_second()
    }

    /// The first, second and third part of the good token.
    pub(super) fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.good.splitn(3, '.');
        let mut next = || parts.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// The good header in JSON.
    pub(super) fn header(&self) -> String {
        self.signer.header().to_string()
    }

    /// The good header with `name` set; `value` is JSON or anything else.
    pub(super) fn header_with(&self, name: &str, value: &str) -> String {
        set(self.signer.header().as_object().cloned().unwrap_or_default(), name, value)
    }

    /// The good claims in JSON.
    pub(super) fn claims(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }

    /// The good claims with `name` set; `value` is JSON or anything else.
    pub(super) fn claims_with(&self, name: &str, value: &str) -> String {
        set(self.claims.clone(), name, value)
    }

    pub(super) fn claims_without(&self, name: &str) -> String {
        let mut claims = self.claims.clone();
        claims.remove(name);
        Value::Object(claims).to_string()
    }

    /// A token of the issuer with this header and the good claims.
    pub(super) fn with_header(&self, header: impl AsRef<[u8]>) -> String {
        self.signer.token(header, self.claims())
    }

    /// A token of the issuer with the good header and these claims.
    pub(super) fn with_claims(&self, claims: impl AsRef<[u8]>) -> String {
        self.signer.token(self.header(), claims)
    }

    /// The good claims under this header with an HMAC in place of a signature.
    pub(super) fn with_hmac(&self, header: &str, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
        let signed = format!("{}.{}", b64(header), b64(self.claims()));
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
        format!("{signed}.{}", b64(tag))
    }

    /// The good claims under this header with this signature.
    pub(super) fn unsigned(&self, header: &str, signature: &[u8]) -> String {
        format!("{}.{}.{}", b64(header), b64(self.claims()), b64(signature))
    }
}

/// Text, as the value may be one that no JSON writer writes.
fn set(mut object: Map<String, Value>, name: &str, value: &str) -> String {
    object.remove(name);
    let rest = Value::Object(object).to_string();
    let separator = if rest == "{}" { "" } else { "," };
    format!("{{{}:{value}{separator}{}", json!(name), &rest[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_set_whatever_stood_there_and_whatever_the_value_is() {
        let object = json!({"a": 1, "b": 2}).as_object().cloned().expect("an object");
        assert_eq!(set(object, "a", "1e999"), r#"{"a":1e999,"b":2}"#);
        assert_eq!(set(Map::new(), "a\"", "[]"), r#"{"a\"":[]}"#);
    }
}
