//! What the server answers, read in place: what holds a value is not copied on the way to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, ErrorKind, Lease};

/// In seconds: no token and no lease counts for longer.
const LONGEST: u64 = 10 * 365 * 86_400;

/// One version of a secret in a key-value engine.
pub(super) struct Kept {
    pub(super) number: u64,
    /// When it was made: a secret that was removed with all its versions begins at 1 again.
    pub(super) created: String,
    /// `None` if it was deleted or destroyed.
    pub(super) value: Option<Zeroizing<Vec<u8>>>,
}

/// A credential that was made.
pub(super) struct Lent {
    pub(super) value: Zeroizing<Vec<u8>>,
    /// Some are not lent but only kept, such as the static roles of a database.
    pub(super) lease: Option<Lease>,
}

/// A token as a login, a renewal or a look at it tells of it.
pub(super) struct Granted {
    /// Empty in an answer that does not repeat it.
    pub(super) token: SecretString,
    /// Zero if it never ends.
    pub(super) ttl: Duration,
    pub(super) is_renewable: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    lease_id: Cow<'a, str>,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    auth: Option<AuthPart<'a>>,
}

#[derive(Deserialize)]
struct AuthPart<'a> {
    #[serde(borrow)]
    client_token: Cow<'a, str>,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    #[serde(default)]
    created_time: String,
    #[serde(default)]
    destroyed: bool,
}

#[derive(Deserialize)]
struct Looked {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// A version of a key-value secret; also as 404 answers one that was deleted.
pub(super) fn kept(body: &[u8]) -> Result<Kept, Error> {
    let version: Version<'_> = data(body)?;
    let Metadata { version: number, created_time: created, destroyed } = version.metadata;
    let value = version.data.filter(|_| !destroyed).map(value).transpose()?;
    Ok(Kept { number, created, value })
}

/// The one field `value` of a secret that has no other, or all its fields as a JSON object.
fn value(data: &RawValue) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fields: Fields<'_> = parse(data.get().as_bytes())?;
    match fields.get("value") {
        Some(value) if fields.len() == 1 && value.get().starts_with('"') => text(value),
        Some(value) if fields.len() == 1 => Ok(bytes(value)),
        _ => Ok(bytes(data)),
    }
}

/// A credential made by an engine such as `database`.
pub(super) fn lent(body: &[u8]) -> Result<Lent, Error> {
    let envelope: Envelope<'_> = parse(body)?;
    let data = envelope.data.ok_or_else(|| malformed("holds no credential"))?;
    let fields: Fields<'_> = parse(data.get().as_bytes())?;
    let value = match (fields.get("username"), fields.get("password")) {
        // What else there is, such as the time left, would make it another credential each time.
        (Some(username), Some(password)) => {
            let parts = [r#"{"username":"#, username.get(), r#","password":"#, password.get(), "}"];
            let mut value = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
            parts.iter().for_each(|part| value.extend_from_slice(part.as_bytes()));
            value
        }
        _ => bytes(data),
    };
    Ok(Lent { value, lease: lease(&envelope) })
}

/// The lease that a renewal answers.
pub(super) fn renewed(body: &[u8]) -> Result<Lease, Error> {
    lease(&parse(body)?).ok_or_else(|| malformed("holds no lease"))
}

fn lease(envelope: &Envelope<'_>) -> Option<Lease> {
    let ttl = seconds(envelope.lease_duration);
    let lease = || Lease::new(envelope.lease_id.as_ref(), ttl).renewable(envelope.renewable);
    (!envelope.lease_id.is_empty()).then(lease)
}

/// The token that a login or a renewal answers.
pub(super) fn granted(body: &[u8]) -> Result<Granted, Error> {
    let auth = parse::<Envelope<'_>>(body)?.auth.ok_or_else(|| malformed("holds no token"))?;
    Ok(Granted {
        token: auth.client_token.as_ref().into(),
        ttl: seconds(auth.lease_duration),
        is_renewable: auth.renewable,
    })
}

/// What a token is told of itself.
pub(super) fn looked(body: &[u8]) -> Result<Granted, Error> {
    let Looked { ttl, renewable } = data(body)?;
    Ok(Granted { token: "".into(), ttl: seconds(ttl), is_renewable: renewable })
}

/// What a server says to be longer than any clock is as long as a process may run.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(LONGEST))
}

fn data<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    let data = parse::<Envelope<'_>>(body)?.data.ok_or_else(|| malformed("holds no data"))?;
    parse(data.get().as_bytes())
}

fn bytes(raw: &RawValue) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(raw.get().as_bytes().to_vec())
}

fn text(raw: &RawValue) -> Result<Zeroizing<Vec<u8>>, Error> {
    Ok(Zeroizing::new(parse::<String>(raw.get().as_bytes())?.into_bytes()))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    // The message of the parser may hold what it read.
    serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "is another JSON than expected" } else { "is no JSON" };
        malformed(&format!("{what}, at line {line} column {column}"))
    })
}

fn malformed(what: &str) -> Error {
    let todo = "is the engine what it is taken for, and is it an OpenBao server?";
    Error::new(ErrorKind::Malformed, format!("what OpenBao answered {what}; {todo}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn version(data: &str) -> String {
        format!(
            r#"{{"lease_id":"","data":{{"data":{data},"metadata":{{"version":3,"created_time":"t","destroyed":false}}}}}}"#
        )
    }

    #[test]
    fn a_secret_is_its_one_field_value_or_all_its_fields() {
        for (data, value) in [
            (r#"{"value":"hunter2"}"#, "hunter2"),
            (r#"{"value":"a\"b\\c\nd\u003c€\ud83d\ude00"}"#, "a\"b\\c\nd<€😀"),
            (r#"{"value":""}"#, ""),
            (r#"{"value":17}"#, "17"),
            (r#"{"value":{"user":"a"}}"#, r#"{"user":"a"}"#),
            (r#"{"password":"x"}"#, r#"{"password":"x"}"#),
            (r#"{"user":"a","value":"x"}"#, r#"{"user":"a","value":"x"}"#),
            ("{}", "{}"),
        ] {
            let kept = kept(version(data).as_bytes()).expect(data);
            assert_eq!((kept.number, kept.created.as_str()), (3, "t"));
            assert_eq!(kept.value.expect(data).as_slice(), value.as_bytes(), "{data}");
        }
    }

    #[test]
    fn a_version_that_was_deleted_or_destroyed_has_no_value() {
        let destroyed = version(r#"{"value":"x"}"#).replace("false", "true");
        for body in [version("null"), destroyed] {
            assert!(kept(body.as_bytes()).expect("a version").value.is_none(), "{body}");
        }
    }

    #[test]
    fn a_credential_is_user_name_and_password_or_whatever_it_is() {
        for (data, value) in [
            (r#"{"password":"p\"","username":"u"}"#, r#"{"username":"u","password":"p\""}"#),
            (r#"{"password":"p","ttl":7,"username":"u"}"#, r#"{"username":"u","password":"p"}"#),
            (r#"{"access_key":"k"}"#, r#"{"access_key":"k"}"#),
        ] {
            let body = format!(r#"{{"lease_id":"db/x","lease_duration":5,"renewable":true,"data":{data}}}"#);
            let lent = lent(body.as_bytes()).expect(data);
            assert_eq!(lent.value.as_slice(), value.as_bytes());
            assert_eq!(lent.lease, Some(Lease::new("db/x", Duration::from_secs(5)).renewable(true)));
        }
        assert_eq!(lent(br#"{"lease_id":"","data":{"a":1}}"#).expect("kept").lease, None);
    }

    #[test]
    fn a_token_is_told_of_by_a_login_and_by_itself() {
        use secrecy::ExposeSecret as _;
        let body = br#"{"data":null,"auth":{"client_token":"s.x","lease_duration":9,"renewable":true,"policies":[]}}"#;
        let login = granted(body).expect("a token");
        assert_eq!(login.token.expose_secret(), "s.x");
        assert_eq!((login.ttl, login.is_renewable), (Duration::from_secs(9), true));
        let root = looked(br#"{"data":{"ttl":0,"renewable":false,"id":"s.x"}}"#).expect("a token");
        assert_eq!((root.ttl, root.is_renewable), (Duration::ZERO, false));
    }

    #[test]
    fn a_time_that_no_clock_can_tell_is_cut() {
        use tokio::time::Instant;
        let body = format!(
            r#"{{"lease_id":"x","lease_duration":{0},"data":{{"ttl":{0}}},"auth":{{"client_token":"s.x","lease_duration":{0},"renewable":true}}}}"#,
            u64::MAX
        );
        let body = body.as_bytes();
        let lease = lent(body).expect("a lease").lease.expect("a lease");
        let renewed = renewed(body).expect("a lease");
        let (granted, looked) = (granted(body).expect("a token"), looked(body).expect("a token"));
        for ttl in [lease.ttl(), renewed.ttl(), granted.ttl, looked.ttl] {
            assert!(Instant::now().checked_add(ttl).is_some(), "{ttl:?}");
            assert!(ttl > Duration::from_secs(86_400 * 365));
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_does_not_repeat_it() {
        for body in [
            "",
            "hunter2",
            "[]",
            "null",
            r#"{"data":{"hunter2":"hunter2"}}"#,
            r#"{"data":"hunter2"}"#,
            r#"{"auth":{"client_token":7}}"#,
            r#"{"data":{"data":"hunter2","metadata":{"version":1}}}"#,
            r#"{"data":{"data":{"value":"hunter2"},"metadata":{"version":"hunter2"}}}"#,
        ] {
            for error in [
                kept(body.as_bytes()).err(),
                granted(body.as_bytes()).err(),
                looked(body.as_bytes()).err(),
                renewed(body.as_bytes()).err(),
            ] {
                let error = error.expect(body);
                assert_eq!(error.kind(), ErrorKind::Malformed, "{body}");
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{body}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was_put(text in ".{0,64}") {
            let body = version(&json!({ "value": text }).to_string());
            let value = kept(body.as_bytes()).expect("kept").value.expect("a value");
            prop_assert_eq!(value.as_slice(), text.as_bytes());
        }

        #[test]
        fn any_fields_come_back_as_they_were_put(fields in prop::collection::btree_map("[a-z]{0,3}", ".{0,8}", 2..5)) {
            let body = version(&json!(fields).to_string());
            let value = kept(body.as_bytes()).expect("kept").value.expect("a value");
            prop_assert_eq!(serde_json::from_slice::<Value>(&value).expect("JSON"), json!(fields));
        }

        #[test]
        fn whatever_is_answered_nothing_panics(body in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = (kept(&body).is_ok(), lent(&body).is_ok(), granted(&body).is_ok(), renewed(&body).is_ok());
        }
    }
}
