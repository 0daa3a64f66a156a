use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use halfbyte_core::BoxError;
use halfbyte_core::problem::{Context, Kind};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tower_service::Service;

use super::attack::{self, Attack};
use super::forgery::Forgery;
use super::issuer::Issuer;
use super::persona::Persona;
use super::report::{Fault, Finding, PATIENCE, Report};
use super::server::{STRANGER_CHAIN, STRANGER_KEYS};

/// The longest refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;
/// How many attacks are made at once.
const AT_ONCE: usize = 12;
/// Parts of credentials that are shorter stand in an answer by chance.
const TELLING: usize = 24;

/// Asserts that `service` accepts a good token of `persona`, and refuses every attack of the [corpus](attack::corpus) as the
/// table of refusals has it.
///
/// `request` makes a request that needs credentials, without any: each attack is put on one. When it is gRPC
/// (`content-type: application/grpc`), gRPC statuses are asked for. The service must accept tokens of `issuer` for
/// `audience`, by the issuer's clock. Time limits are [`tokio::time`]: do not pause it.
///
/// # Panics
///
/// With a list of all attacks that got through or were refused in a wrong way; and when the good token is refused, as a
/// service that refuses everything would pass otherwise.
pub async fn assert_all_refused<S, B, R>(
    service: S,
    request: impl Fn() -> Request<B>,
    issuer: &Issuer,
    audience: &str,
    persona: &Persona,
) where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    R: Body,
    R::Error: Into<BoxError>,
{
    let report = run(service, request, issuer, audience, persona).await;
    assert!(report.is_clean(), "the service does not stand the attacks on its tokens: {report}");
}

/// As [`assert_all_refused`], with a report in place of a panic.
pub async fn run<S, B, R>(
    service: S,
    request: impl Fn() -> Request<B>,
    issuer: &Issuer,
    audience: &str,
    persona: &Persona,
) -> Report
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    R: Body,
    R::Error: Into<BoxError>,
{
    let forgery = Forgery::new(issuer, audience, persona);
    let attacks = attack::from_forgery(&forgery);
    let mut findings = Vec::new();
    let mut words = Vec::new();
    let good = Attack::bearer("the good token", &forgery.good);
    let accepted = send(&service, &request, &good).await;
    findings.extend(fault_with_good(&accepted).map(|fault| good.found(fault)));

    // Several at once, as a service may have each that names an unknown key wait for the next fetch of keys.
    let (alone, together): (Vec<_>, Vec<_>) = attacks.iter().partition(|attack| attack.leads_elsewhere());
    // As a list and not by `map`: or the future is not known to be `Send`.
    let mut sending = Vec::new();
    for attack in together {
        let (service, request) = (&service, &request);
        sending.push(async move { (attack, send(service, request, attack).await) });
    }
    let mut answers: Vec<_> = stream::iter(sending).buffered(AT_ONCE).collect().await;
    for attack in alone {
        let fetched = strangers_fetched(issuer);
        answers.push((attack, send(&service, &request, attack).await));
        if strangers_fetched(issuer) != fetched {
            findings.push(attack.found(Fault::FollowedAddress));
        }
    }
    for (attack, answer) in answers {
        findings.extend(faults(&answer, &accepted, attack).map(|fault| attack.found(fault)));
        let Ok(answer) = answer else { continue };
        if attack.is_forged() && answer.refused_as(attack.expected()) {
            words.push((attack, answer.detail()));
        }
    }
    findings.extend(told_apart(words));

    // The attacks must not have spoiled it for the good.
    if findings.first().is_none_or(|finding| finding.attack != good.name()) {
        let again = send(&service, &request, &good).await;
        findings.extend(fault_with_good(&again).map(|fault| good.found(fault)));
    }
    Report { attacks: attacks.len(), findings }
}

/// Those that were refused in other words than most.
fn told_apart(words: Vec<(&Attack, String)>) -> Vec<Finding> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (_, said) in &words {
        *counts.entry(said.clone()).or_default() += 1;
    }
    let Some((usual, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return Vec::new() };
    let unusual = words.into_iter().filter(|(_, said)| *said != usual);
    unusual.map(|(attack, said)| attack.found(Fault::ToldApart(said))).collect()
}

fn strangers_fetched(issuer: &Issuer) -> usize {
    issuer.fetches_of(STRANGER_KEYS) + issuer.fetches_of(STRANGER_CHAIN)
}

impl Attack {
    fn found(&self, fault: Fault) -> Finding {
        Finding { attack: self.name(), fault }
    }
}

/// What came back, as far as it matters.
struct Answer {
    grpc: bool,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

async fn send<S, B, R>(service: &S, request: &impl Fn() -> Request<B>, attack: &Attack) -> Result<Answer, Fault>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    R: Body,
    R::Error: Into<BoxError>,
{
    let mut request = request();
    attack.apply(&mut request);
    let grpc = Context::of(&request).grpc;
    let mut service = service.clone();
    let exchange = async {
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
        let response = service.call(request).await.map_err(failed)?;
        let (parts, body) = response.into_parts();
        let mut answer = Answer { grpc, status: parts.status, headers: parts.headers, body: Bytes::new() };
        // What got through may go on for ever.
        if answer.is_refusal() {
            let body = Limited::new(body, MAX_REFUSAL).collect().await.map_err(failed)?;
            answer.headers.extend(body.trailers().cloned().unwrap_or_default());
            answer.body = body.to_bytes();
        }
        Ok(answer)
    };
    match tokio::time::timeout(PATIENCE, AssertUnwindSafe(exchange).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Err(Fault::Panicked),
        Err(_elapsed) => Err(Fault::NoAnswer),
    }
}

fn failed(error: impl Into<BoxError>) -> Fault {
    Fault::Failed(halfbyte_core::error_chain(&*error.into()))
}

/// Not a refusal, and not for want of keys either: then refusals of attacks would say nothing.
fn fault_with_good(answer: &Result<Answer, Fault>) -> Option<Fault> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => return Some(fault.clone()),
    };
    let says_nothing = [Kind::Unauthenticated, Kind::InvalidToken, Kind::Unavailable];
    let refused = says_nothing.into_iter().any(|kind| answer.has_status_of(kind));
    refused.then_some(Fault::RefusedGoodToken(answer.status))
}

fn faults(
    answer: &Result<Answer, Fault>,
    accepted: &Result<Answer, Fault>,
    attack: &Attack,
) -> impl Iterator<Item = Fault> {
    let found = match answer {
        Err(fault) => vec![fault.clone()],
        Ok(answer) => {
            let as_good = accepted.as_ref().is_ok_and(|good| good.outcome() == answer.outcome());
            let refusal = answer.fault_with_refusal(attack.expected(), as_good);
            let repeated = answer.repeats(attack).then_some(Fault::RepeatedCredentials);
            refusal.into_iter().chain(repeated).collect()
        }
    };
    found.into_iter()
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// What of two answers is the same when they mean the same.
    fn outcome(&self) -> (StatusCode, &str) {
        (self.status, if self.grpc { self.header("grpc-status") } else { "" })
    }

    fn is_refusal(&self) -> bool {
        if self.grpc {
            self.status != StatusCode::OK || !matches!(self.header("grpc-status"), "" | "0")
        } else {
            self.status.is_client_error() || self.status.is_server_error()
        }
    }

    fn has_status_of(&self, kind: Kind) -> bool {
        if self.grpc {
            self.header("grpc-status") == kind.grpc_code().to_string()
        } else {
            self.status == kind.status()
        }
    }

    /// The problem type, if the answer says one as the table has it.
    fn problem(&self) -> String {
        if self.grpc {
            return self.header("problem-type").to_owned();
        }
        let is_problem = self.header(CONTENT_TYPE.as_str()) == "application/problem+json";
        self.member("type").filter(|_| is_problem).unwrap_or_default()
    }

    /// What the answer tells whoever sent the request.
    fn detail(&self) -> String {
        if self.grpc { self.header("grpc-message").to_owned() } else { self.member("detail").unwrap_or_default() }
    }

    fn member(&self, name: &str) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get(name)?.as_str()?.to_owned())
    }

    fn refused_as(&self, expected: &[Kind]) -> bool {
        expected.iter().any(|kind| self.has_status_of(*kind) && self.problem() == kind.urn())
    }

    fn fault_with_refusal(&self, expected: &[Kind], as_good: bool) -> Option<Fault> {
        if !expected.iter().any(|kind| self.has_status_of(*kind)) {
            let through = as_good || !self.is_refusal();
            return Some(if through { Fault::LetThrough(self.status) } else { Fault::WrongStatus(self.status) });
        }
        let problem = self.problem();
        let Some(kind) = expected.iter().find(|kind| kind.urn() == problem) else {
            return Some(Fault::WrongProblem(problem));
        };
        let challenges: Vec<_> = self.headers.get_all(WWW_AUTHENTICATE).iter().map(text_of).collect();
        let right = challenges.iter().any(|challenge| is_challenge_of(*kind, challenge));
        (!right).then(|| Fault::WrongChallenge(challenges.join(", ")))
    }

    fn repeats(&self, attack: &Attack) -> bool {
        let body = String::from_utf8_lossy(&self.body);
        let stands =
            |part: &str| body.contains(part) || self.headers.values().any(|value| text_of(value).contains(part));
        let sent = attack.headers().get_all(AUTHORIZATION).iter().map(text_of);
        sent.flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .any(|part| part.len() >= TELLING && stands(&part))
    }
}

fn text_of(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// RFC 6750, 3 and RFC 9449, 7.1: an error is named when there was a credential, and only then.
fn is_challenge_of(kind: Kind, challenge: &str) -> bool {
    let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
    let names = |error: &str| parameters.contains(&format!("error=\"{error}\""));
    match (kind, scheme) {
        (Kind::Unauthenticated, "Bearer" | "DPoP") => !parameters.contains("error="),
        (Kind::InvalidToken, "Bearer") => names("invalid_token"),
        (Kind::InvalidToken, "DPoP") => {
            ["invalid_token", "invalid_dpop_proof", "use_dpop_nonce"].into_iter().any(names)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_an_error_when_there_was_a_credential_and_only_then() {
        let table = [
            (Kind::InvalidToken, r#"Bearer error="invalid_token",error_description="x""#, true),
            (Kind::InvalidToken, r#"DPoP error="invalid_dpop_proof",algs="ES256""#, true),
            (Kind::InvalidToken, r#"Bearer error="invalid_dpop_proof""#, false),
            (Kind::InvalidToken, r#"Bearer error="insufficient_scope""#, false),
            (Kind::InvalidToken, "Bearer", false),
            (Kind::InvalidToken, r#"Basic error="invalid_token""#, false),
            (Kind::Unauthenticated, "Bearer", true),
            (Kind::Unauthenticated, r#"Bearer resource_metadata="https://x""#, true),
            (Kind::Unauthenticated, r#"Bearer error="invalid_token""#, false),
            (Kind::Unauthenticated, "Basic", false),
            (Kind::Forbidden, "Bearer", false),
        ];
        for (kind, challenge, right) in table {
            assert_eq!(is_challenge_of(kind, challenge), right, "{kind:?} {challenge}");
        }
    }
}
