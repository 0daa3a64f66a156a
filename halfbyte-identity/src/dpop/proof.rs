use serde_json::Value;

use super::ALGORITHMS;
use super::fault::Fault;
use crate::jose::{Jwk, Object, decode, parse_object};

/// The longest proof that is looked at, in bytes.
pub(super) const MAX_PROOF: usize = 8 * 1024;

/// A proof whose header has the right form. Its signature is not verified yet, so that anybody could have made it.
pub(super) struct Proof<'a> {
    signed: &'a [u8],
    signature: &'a str,
    /// With the `alg` of the header in it, by which alone it verifies.
    key: Object,
    claims: Object,
}

const NOT_SIGNED: Fault = Fault::Form("the DPoP proof is not one signed JWT");

impl<'a> Proof<'a> {
    pub(super) fn parse(proof: &'a [u8]) -> Result<Self, Fault> {
        if proof.len() > MAX_PROOF {
            return Err(Fault::Form("the DPoP proof is longer than 8 KiB"));
        }
        let text = std::str::from_utf8(proof).map_err(|_| NOT_SIGNED)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(NOT_SIGNED)?;
        let (header, claims) = signed.split_once('.').ok_or(NOT_SIGNED)?;
        let mut header = object(header)?;
        // RFC 7797 and RFC 7515, 4.1.11: an extension that is not understood here changes what is signed.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Fault::Form("the header of the DPoP proof asks for an extension"));
        }
        // The key is the one in jwk; a second one could only disagree with it.
        if ["jku", "x5u", "x5c"].iter().any(|member| header.contains_key(*member)) {
            return Err(Fault::Form("the header of the DPoP proof names a key besides jwk"));
        }
        if !matches!(header.get("typ"), Some(Value::String(typ)) if typ.eq_ignore_ascii_case("dpop+jwt")) {
            return Err(Fault::Form("the typ of the DPoP proof is not dpop+jwt"));
        }
        let algorithm = header
            .remove("alg")
            .filter(|alg| alg.as_str().is_some_and(|alg| ALGORITHMS.split(' ').any(|known| known == alg)))
            .ok_or(Fault::Form("the alg of the DPoP proof is not one that is accepted here"))?;
        let Some(Value::Object(mut key)) = header.remove("jwk") else {
            return Err(Fault::Form("the DPoP proof has no jwk"));
        };
        if key.get("alg").is_some_and(|own| *own != algorithm) {
            return Err(Fault::Key("its alg is not that of the header"));
        }
        key.insert("alg".to_owned(), algorithm);
        Ok(Self { signed: signed.as_bytes(), signature, key, claims: object(claims)? })
    }

    /// The key that the proof says it is made with.
    pub(super) fn key(&self) -> &Object {
        &self.key
    }

    /// Whether it is signed with its key, which must pass all that the key of an issuer must pass.
    pub(super) fn verify(&self) -> Result<(), Fault> {
        let key = Jwk::from_object(&self.key).map_err(Fault::Key)?;
        let signature = decode(self.signature).map_err(|_| NOT_SIGNED)?;
        key.verify(self.signed, &signature).map_err(|_| Fault::Signature)
    }

    pub(super) fn text(&self, claim: &str) -> Result<&str, Fault> {
        self.optional_text(claim)?.ok_or(Fault::Form("the DPoP proof lacks one of jti, htm, htu, ath"))
    }

    pub(super) fn optional_text(&self, claim: &str) -> Result<Option<&str>, Fault> {
        match self.claims.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Fault::Form("one of jti, htm, htu, ath, nonce in the DPoP proof is not a string")),
        }
    }

    /// A time claim: seconds since 1970, a number and not text. Fractions are allowed and cut off.
    pub(super) fn seconds(&self, claim: &str) -> Result<Option<i64>, Fault> {
        const FAR: f64 = 1e12;
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| seconds.abs() < FAR);
        #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
        let whole = seconds.map(|seconds| seconds.floor() as i64);
        whole.map(Some).ok_or(Fault::Form("a time in the DPoP proof is not a number of seconds"))
    }
}

fn object(part: &str) -> Result<Object, Fault> {
    decode(part).and_then(|json| parse_object(&json)).map_err(|_| NOT_SIGNED)
}
