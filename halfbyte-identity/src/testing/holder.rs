use std::fmt;

use halfbyte_core::Clock;
use http::Method;
use serde_json::json;

use super::persona::Persona;
use super::signer::{Owner, Signer, b64, random_text, sha256};
use crate::jose::Algorithm;

/// A client with a key of its own (ES256), to which tokens are bound and with which it proves that they are its own: DPoP,
/// RFC 9449.
///
/// ```
/// use halfbyte_identity::testing::{Holder, Persona};
/// use http::Method;
///
/// let holder = Holder::new();
/// let ann = holder.bind(Persona::user("ann"));
/// # let token = "the token that the issuer gave for ann";
/// let proof = holder.proof(&Method::GET, "https://parcel.example/labels", token);
/// // Send "Authorization: DPoP TOKEN" and "DPoP: PROOF".
/// ```
pub struct Holder {
    signer: Signer,
    clock: Clock,
}

impl Holder {
    /// A new key, on the clock of this machine.
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// A new key; `clock` tells when proofs are made.
    pub fn with_clock(clock: Clock) -> Self {
        Self { signer: Signer::generate(Algorithm::Es256, "holder", Owner::Stranger), clock }
    }

    /// Binds the tokens of `persona` to this key (`cnf.jkt`).
    pub fn bind(&self, persona: Persona) -> Persona {
        persona.bound_to_key(&self.thumbprint())
    }

    /// The thumbprint of the public key (RFC 7638, SHA-256), as `jkt` has it.
    pub fn thumbprint(&self) -> String {
        self.signer.thumbprint()
    }

    /// A proof for one request with `token`: the value of the header `DPoP`. The query and the fragment of `url` are left
    /// out, as RFC 9449, 4.2 has it.
    pub fn proof(&self, method: &Method, url: &str, token: &str) -> String {
        self.prove(method, url, Some(token), None)
    }

    /// The same with the nonce that the service gave (`DPoP-Nonce`, RFC 9449, 9).
    pub fn proof_with_nonce(&self, method: &Method, url: &str, token: &str, nonce: &str) -> String {
        self.prove(method, url, Some(token), Some(nonce))
    }

    /// A proof for a request without a token, as a token endpoint asks for (RFC 9449, 5).
    pub fn proof_without_token(&self, method: &Method, url: &str, nonce: Option<&str>) -> String {
        self.prove(method, url, None, nonce)
    }

    fn prove(&self, method: &Method, url: &str, token: Option<&str>, nonce: Option<&str>) -> String {
        let header = json!({"typ": "dpop+jwt", "alg": self.signer.algorithm().as_str(), "jwk": self.signer.bare_jwk()});
        let address = url.split(['?', '#']).next().unwrap_or_default();
        let now = self.clock.now().as_second();
        let mut claims = json!({"jti": random_text(), "htm": method.as_str(), "htu": address, "iat": now});
        if let Some(token) = token {
            claims["ath"] = json!(b64(sha256(token.as_bytes())));
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        self.signer.token(header.to_string(), claims.to_string())
    }
}

impl Default for Holder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("thumbprint", &self.thumbprint()).finish_non_exhaustive()
    }
}
