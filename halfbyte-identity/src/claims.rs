//! From verified claims to a principal: RFC 7519 and RFC 9068, without a clock and without I/O.

use std::fmt;

use halfbyte_core::{Principal, PrincipalKind, TenantId};
use jiff::Timestamp;
use serde_json::Value;

use crate::jose::{Header, Object};

/// How far clocks of issuer and product may be apart, in seconds.
pub(crate) const LEEWAY: i64 = 30;

/// Why claims are refused, in words that a caller may read: he could read the token himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotAnAccessToken,
    Bound,
    Issuer,
    Audience,
    Expired,
    NotYet,
    Malformed,
}

impl Fault {
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Fault::NotAnAccessToken => "this is a token of another kind; send an access token",
            Fault::Bound => "the access token is bound to a key of its holder, for which this service cannot ask",
            Fault::Issuer => "the issuer of the access token is not accepted here",
            Fault::Audience => "the access token is meant for another service",
            Fault::Expired => "the access token has expired",
            Fault::NotYet => "the access token is not valid yet",
            Fault::Malformed => "the access token is not valid",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

/// Claims by which ID tokens (OpenID Connect) and security events such as logout tokens (RFC 8417) are known where `typ`
/// does not tell.
const ONLY_IN_OTHER_TOKENS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// The principal that `claims` speak of, if they are good for `audience` now.
pub(crate) fn principal(
    header: &Header,
    claims: &Object,
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Principal, Fault> {
    // RFC 9068 asks for at+jwt; issuers that are older than it say JWT or nothing.
    if !matches!(header.media_type.as_deref(), None | Some("at+jwt" | "jwt")) {
        return Err(Fault::NotAnAccessToken);
    }
    if ONLY_IN_OTHER_TOKENS.iter().any(|claim| claims.contains_key(*claim)) {
        return Err(Fault::NotAnAccessToken);
    }
    // RFC 7800: sent as a mere bearer token it may be a stolen one (RFC 9449, 7.2; RFC 8705, 3).
    if claims.contains_key("cnf") {
        return Err(Fault::Bound);
    }
    if text(claims, "iss")? != issuer {
        return Err(Fault::Issuer);
    }
    if !names(claims.get("aud"), audience)? {
        return Err(Fault::Audience);
    }
    let expires_at = time(claims, "exp")?.ok_or(Fault::Malformed)?;
    if now.as_second() >= expires_at.as_second().saturating_add(LEEWAY) {
        return Err(Fault::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|from| from.as_second() > now.as_second().saturating_add(LEEWAY)) {
        return Err(Fault::NotYet);
    }
    time(claims, "iat")?;
    let subject = text(claims, "sub")?;
    let scope = optional_text(claims, "scope")?.unwrap_or_default();
    let acts_for_itself = optional_text(claims, "client_id")? == Some(subject);
    Ok(Principal::builder(subject, tenant(claims, issuer, subject)?, expires_at)
        .kind(if acts_for_itself { PrincipalKind::Service } else { PrincipalKind::User })
        .scopes(scope.split(' ').filter(|scope| !scope.is_empty()))
        .issuer(issuer)
        .build())
}

/// The `iss` of claims that are not verified yet: only to choose whose keys to verify with.
pub(crate) fn unverified_issuer(claims: &Object) -> Option<&str> {
    claims.get("iss")?.as_str()
}

/// Who pays. A subject without a tenant is its own, named together with its issuer: another issuer may have a subject of
/// the same name, and no issuer has a `#`.
fn tenant(claims: &Object, issuer: &str, subject: &str) -> Result<TenantId, Fault> {
    match optional_text(claims, "tenant")? {
        // The names of tenants that are subjects are made here and nowhere else.
        Some(tenant) if tenant.starts_with("subject:") => return Err(Fault::Malformed),
        Some(tenant) => TenantId::new(tenant),
        None => {
            let issuer = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
            TenantId::new(format!("subject:{issuer}#{subject}"))
        }
    }
    .map_err(|_| Fault::Malformed)
}

fn optional_text<'a>(claims: &'a Object, name: &str) -> Result<Option<&'a str>, Fault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::Malformed),
    }
}

fn text<'a>(claims: &'a Object, name: &str) -> Result<&'a str, Fault> {
    optional_text(claims, name)?.filter(|text| !text.is_empty()).ok_or(Fault::Malformed)
}

/// A time claim: seconds since 1970, a number and not text. Fractions are allowed and cut off.
fn time(claims: &Object, name: &str) -> Result<Option<Timestamp>, Fault> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| seconds.abs() < 1e12)?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
        Some(seconds as i64)
    });
    whole.and_then(|seconds| Timestamp::from_second(seconds).ok()).map(Some).ok_or(Fault::Malformed)
}

fn names(aud: Option<&Value>, audience: &str) -> Result<bool, Fault> {
    match aud {
        Some(Value::String(one)) => Ok(one == audience),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => Ok(all.iter().any(|one| one == audience)),
        None => Ok(false),
        Some(_) => Err(Fault::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::Algorithm;

    const NOW: i64 = 1_900_000_000;

    fn check(claims: &Value) -> Result<Principal, Fault> {
        check_typed(claims, Some("at+jwt"))
    }

    fn check_typed(claims: &Value, typ: Option<&str>) -> Result<Principal, Fault> {
        let header = Header { algorithm: Algorithm::Es256, key_id: None, media_type: typ.map(Into::into) };
        let now = Timestamp::from_second(NOW).expect("in range");
        principal(&header, claims.as_object().expect("an object"), "https://issuer", "parcel", now)
    }

    fn good() -> Value {
        json!({"iss": "https://issuer", "aud": "parcel", "exp": NOW + 60, "sub": "ann", "tenant": "acme",
               "scope": "labels:read  labels:write"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = good();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    }

    #[test]
    fn good_claims_become_a_principal() {
        let principal = check(&good()).expect("good");
        assert_eq!((principal.subject(), principal.tenant().as_str()), ("ann", "acme"));
        assert_eq!(principal.scopes().collect::<Vec<_>>(), ["labels:read", "labels:write"]);
        assert_eq!(principal.kind(), PrincipalKind::User);
    }

    #[test]
    fn a_client_that_acts_for_itself_is_a_service() {
        assert_eq!(check(&with("client_id", json!("ann"))).expect("good").kind(), PrincipalKind::Service);
    }

    #[test]
    fn a_subject_without_a_tenant_is_its_own_and_never_a_tenant_of_that_name() {
        assert_eq!(check(&without("tenant")).expect("good").tenant().as_str(), "subject:issuer#ann");
    }

    #[test]
    fn each_claim_that_is_wrong_is_refused() {
        let table = [
            (with("iss", json!("https://issuer/")), Fault::Issuer),
            (with("iss", json!(["https://issuer"])), Fault::Malformed),
            (without("iss"), Fault::Malformed),
            (with("aud", json!("clinic")), Fault::Audience),
            (with("aud", json!(["clinic", "parcel-2"])), Fault::Audience),
            (with("aud", json!([["parcel"]])), Fault::Malformed),
            (with("aud", json!({"parcel": 1})), Fault::Malformed),
            (without("aud"), Fault::Audience),
            (with("exp", json!(NOW - LEEWAY)), Fault::Expired),
            (with("exp", json!("2100000000")), Fault::Malformed),
            (with("exp", json!(1e300)), Fault::Malformed),
            (without("exp"), Fault::Malformed),
            (with("nbf", json!(NOW + LEEWAY + 1)), Fault::NotYet),
            (with("nbf", json!(true)), Fault::Malformed),
            (with("iat", json!("x")), Fault::Malformed),
            (without("sub"), Fault::Malformed),
            (with("sub", json!("")), Fault::Malformed),
            (with("sub", json!(7)), Fault::Malformed),
            (with("scope", json!(["labels:write"])), Fault::Malformed),
            (with("tenant", json!("a b")), Fault::Malformed),
            (with("tenant", json!("subject:issuer#ann")), Fault::Malformed),
            (with("cnf", json!({"jkt": "x"})), Fault::Bound),
            (with("cnf", json!({"x5t#S256": "x"})), Fault::Bound),
            (with("cnf", Value::Null), Fault::Bound),
            (with("nonce", json!("x")), Fault::NotAnAccessToken),
            (with("at_hash", json!("x")), Fault::NotAnAccessToken),
            (with("events", json!({})), Fault::NotAnAccessToken),
        ];
        for (claims, fault) in table {
            assert_eq!(check(&claims).expect_err("refused"), fault, "{claims}");
        }
    }

    #[test]
    fn the_edges_of_time_and_audience_are_accepted() {
        for claims in [
            with("exp", json!(NOW - LEEWAY + 1)),
            with("nbf", json!(NOW + LEEWAY)),
            with("exp", json!(NOW as f64 + 60.5)),
            with("aud", json!(["clinic", "parcel"])),
        ] {
            assert!(check(&claims).is_ok(), "{claims}");
        }
    }

    #[test]
    fn tokens_of_another_kind_are_not_access_tokens() {
        for typ in ["logout+jwt", "dpop+jwt", "id_token", "secevent+jwt", ""] {
            assert_eq!(check_typed(&good(), Some(typ)).expect_err("refused"), Fault::NotAnAccessToken, "{typ}");
        }
        assert!(check_typed(&good(), None).is_ok());
    }
}
