//! One allowed call, and one refusal of each kind.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::Outcome;
use crate::company::Company;
use crate::http::{Answer, Caller};
use crate::process::Product;
use crate::screen::Screen;

pub async fn show(screen: &mut Screen, company: &mut Company) -> Outcome {
    allowed(screen, company).await?;
    refused(screen, company).await?;
    quota(screen, company).await?;
    production(screen, company)
}

async fn allowed(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step("An allowed call", "A customer's program gets a token and makes a label with it.");
    let acme = company.sign_in("acme-app", "labels:read labels:write").await?;
    screen.say("acme signs in at /oauth/token by client credentials: an ES256 access token for parcel");
    let label =
        acme.post(&company.parcel.url("/labels"), "first", &json!({ "to": "1 Main Street" })).await?.expect(201)?;
    screen.say(&format!("POST /labels → 201 in {:.1} ms  {}", label.took.as_secs_f64() * 1e3, label.body));
    let id = label.body["id"].as_str().unwrap_or_default();
    acme.get(&company.parcel.url(&format!("/labels/{id}"))).await?.expect(200)?;
    screen.seen("201 Created, and found again with GET");
    Ok(())
}

async fn refused(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step("Refusals", "Each comes from one table: the same status, type and headers in every product.");
    let (labels, appointments) = (company.parcel.url("/labels"), company.clinic.url("/appointments"));
    let (label, visit) = (json!({ "to": "x" }), json!({ "patient": "Bill", "at": "2030-01-01T09:00" }));

    let answer = Caller::anonymous().post(&labels, "k", &label).await?;
    check(screen, "no token", &answer, 401, "unauthenticated", &answer.headers["www-authenticate"])?;

    let acme = company.sign_in("acme-app", "labels:write").await?;
    let answer = Caller::with_token(tampered(acme.token())).post(&labels, "k", &label).await?;
    check(screen, "a token with one bit changed", &answer, 401, "invalid-token", &answer.headers["www-authenticate"])?;

    let answer = acme.post(&appointments, "k", &visit).await?;
    check(screen, "Parcel's token sent to Clinic", &answer, 401, "invalid-token", &answer.headers["www-authenticate"])?;

    let reader = company.sign_in("acme-app", "labels:read").await?;
    let answer = reader.post(&labels, "k", &label).await?;
    check(
        screen,
        "a token without the scope",
        &answer,
        403,
        "insufficient-scope",
        &answer.headers["www-authenticate"],
    )?;

    let initech = company.sign_in("initech-desk", "appointments:write").await?;
    let answer = initech.post(&appointments, "k", &visit).await?;
    check(screen, "a feature that is not in the plan", &answer, 403, "not-entitled", "")?;

    // A product whose issuer is away and which has no keys yet cannot know whether a token is good.
    let (lost, _) = Product::start("parcel", &company.folder, &[("HALFBYTE_IDENTITY_URL", AWAY)]).await?;
    let answer = Caller::with_token(token_of(AWAY)).post(&lost.url("/labels"), "k", &label).await?;
    let retry_after = format!("Retry-After: {}", answer.header("retry-after"));
    check(screen, "the issuer cannot be reached", &answer, 503, "unavailable", &retry_after)?;
    if answer.header("retry-after").is_empty() {
        return Err("the 503 does not say when to try again".into());
    }
    screen.seen("401, 403 and 503 as CONTRACT.md has them, each with its request id and trace id");
    Ok(())
}

async fn quota(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step("A hard limit", "acme's plan has 3 labels a month. Retries under the same key count once.");
    let acme = company.sign_in("acme-app", "labels:write").await?;
    let labels = company.parcel.url("/labels");
    for key in ["first", "second", "second", "third", "third"] {
        let answer = acme.post(&labels, key, &json!({ "to": "1 Main Street" })).await?.expect(201)?;
        screen.detail(&format!("key {key:7} → {}", answer.status));
    }
    let answer = acme.post(&labels, "fourth", &json!({ "to": "1 Main Street" })).await?;
    check(screen, "the fourth label", &answer, 429, "quota-exhausted", "")?;
    for name in ["RateLimit", "RateLimit-Policy", "Retry-After"] {
        screen.detail(&format!("{name}: {}", answer.header(name)));
        if answer.header(name).is_empty() {
            return Err(format!("the 429 has no {name}").into());
        }
    }
    acme.post(&labels, "third", &json!({ "to": "1 Main Street" })).await?.expect(201)?;
    screen.say("a retry of the third is still answered: it was paid for");
    let used = company.labels_used_once("acme", 3).await?;
    if used != 3 {
        return Err(format!("the store has {used} labels and not 3").into());
    }
    screen.seen("3 of 3 used after 7 requests; the fourth label is 429");
    Ok(())
}

fn production(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step("Production refuses defaults", "HALFBYTE_ENV=production with nothing else set.");
    let (status, printed) = Product::run_to_end("parcel", &company.folder, &[("HALFBYTE_ENV", "production")])?;
    for line in printed.lines() {
        screen.detail(line);
    }
    let keys = ["HALFBYTE_SECRETS_URL", "HALFBYTE_IDENTITY_URL", "HALFBYTE_BILLING_URL"];
    if status.code() != Some(78) || !keys.iter().all(|key| printed.contains(key)) {
        return Err(format!("ended with {status}, and should have with 78 and the keys to set").into());
    }
    screen.seen("exit code 78, and it says which keys to set");
    Ok(())
}

fn check(
    screen: &Screen,
    what: &str,
    answer: &Answer,
    status: u16,
    problem: &str,
    header: impl AsRef<[u8]>,
) -> Outcome {
    let header = String::from_utf8_lossy(header.as_ref()).into_owned();
    screen.say(&format!("{what:35} → {} {}", answer.status, answer.problem()));
    if !header.is_empty() {
        // The address of the metadata is the same each time, and long.
        screen.detail(header.split(",resource_metadata").next().unwrap_or_default());
    }
    let named = |member: &str| answer.body[member].as_str().is_some_and(|text| !text.is_empty());
    match () {
        () if answer.status != status => Err(format!("expected {status}: {}", answer.body).into()),
        () if answer.problem() != problem => Err(format!("expected {problem}: {}", answer.body).into()),
        () if answer.header("content-type") != "application/problem+json" => Err("not a problem document".into()),
        () if !["title", "detail", "request_id", "trace_id"].into_iter().all(named) => {
            Err(format!("a member is missing: {}", answer.body).into())
        }
        () => Ok(()),
    }
}

/// An issuer that nobody can reach: nothing listens there.
const AWAY: &str = "http://127.0.0.1:9/";

/// A token that says it is of `issuer`; whether that is so cannot be told without the issuer's keys.
fn token_of(issuer: &str) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = part(json!({ "alg": "ES256", "typ": "at+jwt", "kid": "1" }));
    let claims =
        part(json!({ "iss": issuer, "aud": "parcel", "sub": "acme-app", "tenant": "acme", "exp": 4_102_444_800_i64 }));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([7; 64]))
}

/// Changes one bit in the middle of the signature.
fn tampered(token: &str) -> String {
    let signature = token.rfind('.').map_or(0, |dot| dot + 1);
    let middle = usize::midpoint(signature, token.len());
    let other = if &token[middle..=middle] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..middle], &token[middle + 1..])
}
