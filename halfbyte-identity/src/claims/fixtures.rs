//! What the tests of claims share.

use halfbyte_core::config::Preset;
use halfbyte_core::{Principal, PrincipalKind};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Accepted, Fault, Rules};
use crate::jose::{Algorithm, Header};

pub(super) const NOW: i64 = 1_900_000_000;

/// An issuer of some make, and the header type and the claims of one of its tokens.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) preset: Preset,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) typ: Option<&'static str>,
    pub(super) claims: Value,
}

impl Token {
    pub(super) fn new(preset: Preset, issuer: &str, audience: &str, typ: Option<&'static str>, claims: Value) -> Self {
        Self { preset, issuer: issuer.into(), audience: audience.into(), typ, claims }
    }

    pub(super) fn with(&self, name: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.claims[name] = value;
        changed
    }

    pub(super) fn without(&self, name: &str) -> Self {
        let mut changed = self.clone();
        changed.claims.as_object_mut().expect("an object").remove(name).expect("it was there");
        changed
    }

    pub(super) fn typed(&self, typ: Option<&'static str>) -> Self {
        Self { typ, ..self.clone() }
    }

    pub(super) fn at_issuer(&self, issuer: &str) -> Self {
        Self { issuer: issuer.into(), ..self.clone() }
    }

    pub(super) fn check(&self) -> Result<Accepted, Fault> {
        self.rules().accept(&header(self.typ), self.claims.to_string().as_bytes(), now())
    }

    /// Reads the claims as an introspection answer.
    pub(super) fn introspected(&self) -> Result<Accepted, Fault> {
        self.rules().accept_introspected(self.claims.to_string().as_bytes(), now())
    }

    pub(super) fn accepted(&self) -> Principal {
        self.check().unwrap_or_else(|fault| panic!("{fault}: {}", self.claims)).principal
    }

    pub(super) fn fault(&self) -> Fault {
        match self.check() {
            Err(fault) => fault,
            Ok(accepted) => panic!("accepted: {:?} {}", accepted.principal, self.claims),
        }
    }

    fn rules(&self) -> Rules {
        Rules::new(&self.issuer, &self.audience, self.preset)
    }
}

pub(super) fn header(typ: Option<&str>) -> Header {
    Header { algorithm: Algorithm::Es256, key_id: None, media_type: typ.map(Into::into) }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("in range")
}

/// All that a principal says, to be compared as a whole.
pub(super) fn seen(principal: &Principal) -> Value {
    let seconds = |time: Option<Timestamp>| time.map(|time| time.as_second() - NOW);
    json!({
        "subject": principal.subject(),
        "tenant": principal.tenant().as_str(),
        "kind": principal.kind().as_str(),
        "client": principal.client_id(),
        "scopes": principal.scopes().collect::<Vec<_>>(),
        "roles": principal.roles().collect::<Vec<_>>(),
        "issuer": principal.issuer(),
        "credential": principal.credential_id(),
        "session": principal.session(),
        "acr": principal.acr(),
        "amr": principal.amr().collect::<Vec<_>>(),
        "times": [principal.expires_at().as_second() - NOW, seconds(principal.issued_at()), seconds(principal.authenticated_at())],
    })
}

pub(super) fn is_service(token: &Token) -> bool {
    token.accepted().kind() == PrincipalKind::Service
}
