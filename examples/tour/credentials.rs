//! Credentials that end before their time: a token that is given back, and an API key.

use std::time::Duration;

use halfbyte::TenantId;
use halfbyte::identity::api_keys::ApiKeySpec;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::Outcome;
use crate::company::Company;
use crate::http::{Answer, Caller};
use crate::screen::Screen;

pub async fn show(screen: &mut Screen, company: &Company) -> Outcome {
    revoked_token(screen, company).await?;
    api_key(screen, company).await
}

async fn revoked_token(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step(
        "A revoked token",
        "A token is good for 15 minutes, unless it is given back at /oauth/revoke (RFC 7009).",
    );
    let usage = company.parcel.url("/usage");
    let globex = company.sign_in("globex-app", "labels:read").await?;
    let other = company.sign_in("globex-app", "labels:read").await?;
    show_answer(screen, "before", &globex.get(&usage).await?, 200)?;
    company.give_back("globex-app", &globex).await?.expect(200)?;
    screen.say("POST /oauth/revoke → 200");
    show_answer(screen, "the next request", &globex.get(&usage).await?, 401)?;
    show_answer(screen, "another token of the same client", &other.get(&usage).await?, 200)?;
    // Clinic is another process: it learns of it from the folder that the issuer is in.
    let desk = company.sign_in("globex-desk", "appointments:read").await?;
    let appointments = company.clinic.url("/appointments");
    show_answer(screen, "at Clinic, before", &desk.get(&appointments).await?, 200)?;
    company.give_back("globex-desk", &desk).await?.expect(200)?;
    show_answer(screen, "at Clinic, the next request", &desk.get(&appointments).await?, 401)?;
    screen.seen("401 invalid-token from the next request on; the others go on");
    Ok(())
}

async fn api_key(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step(
        "An API key",
        "For programs that cannot sign in. Kept as a hash; a rotated one stays good for as long as said.",
    );
    let globex = TenantId::new("globex")?;
    let spec = ApiKeySpec::new(globex.clone()).scopes(["labels:write"]).label("the warehouse");
    let (key, secret) = company.api_keys.create(spec).await?;
    let (prefix, _) = secret.expose_secret().rsplit_once('_').ok_or("not an API key")?;
    screen.say(&format!("globex has a key: {prefix}_…"));
    let old = Caller::with_token(secret.expose_secret());
    let url = company.parcel.url("/labels");
    let post = async |caller: &Caller, name: &str| caller.post(&url, name, &json!({ "to": "1 Main Street" })).await;
    // Another process made the key: Parcel looks it up when it first comes, and the rest it hears within two seconds.
    show_answer(screen, "POST /labels with it", &post(&old, "key-1").await?, 201)?;
    let new = company.api_keys.rotate(&key.id, Duration::from_secs(60)).await?;
    let new = Caller::with_token(new.expose_secret());
    show_answer(screen, "with the one after a rotation", &once(async || post(&new, "key-2").await, 201).await?, 201)?;
    show_answer(screen, "and with the one before", &post(&old, "key-3").await?, 201)?;
    company.api_keys.revoke(&key.id).await?;
    for caller in [&new, &old] {
        show_answer(screen, "after the key is revoked", &once(async || post(caller, "key-4").await, 401).await?, 401)?;
    }
    screen.seen("created, rotated with overlap, revoked");
    Ok(())
}

/// Asks again until the answer has that status, or for three seconds.
async fn once(ask: impl AsyncFn() -> Outcome<Answer>, status: u16) -> Outcome<Answer> {
    for _ in 0..60 {
        let answer = ask().await?;
        if answer.status == status {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ask().await
}

fn show_answer(screen: &Screen, what: &str, answer: &Answer, status: u16) -> Outcome {
    let problem = if answer.status == 401 { answer.problem() } else { "" };
    screen.say(format!("{what:35} → {} {problem}", answer.status).trim_end());
    if answer.status == status { Ok(()) } else { Err(format!("expected {status}: {}", answer.body).into()) }
}
