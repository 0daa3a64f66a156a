//! Keys and secrets change while requests run.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::Outcome;
use crate::company::Company;
use crate::load::Workers;
use crate::screen::Screen;

pub async fn show(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step(
        "Rotation under load",
        "The issuer's signing key changes three times, and so does the secret that Parcel seals labels with,\n\
         while 4 workers make labels with a token from before.",
    );
    let globex = company.sign_in("globex-app", "labels:write").await?;
    let url = company.parcel.url("/labels");
    let workers = Workers::start(4, &globex, &url, "rotation");
    let mut key_ids = BTreeSet::new();
    let mut seals = BTreeSet::new();
    for round in 1..=3 {
        workers.progress(50).await?;
        let key_id = company.issuer.rotate_signing_key().await?;
        let (secrets, value) = (company.secrets.clone(), format!("seal of round {round}").into());
        tokio::task::spawn_blocking(move || secrets.set("label-seal", &value)).await??;
        screen.say(&format!("round {round}: signing key {}…, and a new seal", &key_id[..8]));
        key_ids.insert(key_id);
        let fresh = company.sign_in("globex-app", "labels:write").await?;
        let answer = fresh.post(&url, &format!("fresh-{round}"), &json!({ "to": "x" })).await?.expect(201)?;
        seals.insert(sealed_anew(company, round).await?);
        screen.detail(&format!("a token of the new key is answered with {}", answer.status));
    }
    workers.progress(50).await?;
    let seen = workers.stop().await?;
    if let Some(refusal) = seen.refused.first() {
        return Err(format!("{} requests were refused, such as: {refusal}", seen.refused.len()).into());
    }
    if !seen.unanswered.is_empty() || key_ids.len() != 3 || seals.len() != 3 {
        let missing = seen.unanswered.len();
        return Err(
            format!("{missing} requests without an answer, {} keys, {} seals", key_ids.len(), seals.len()).into()
        );
    }
    screen.seen(&format!("3 keys and 3 secrets later: {} labels made, no request failed", seen.made.len()));
    Ok(())
}

/// Waits until Parcel seals with the secret of `round`; answers the seal. What a seal must be is worked out here again.
async fn sealed_anew(company: &Company, round: u32) -> Outcome<String> {
    let globex = company.sign_in("globex-app", "labels:write").await?;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, format!("seal of round {round}").as_bytes());
    for attempt in 0..60 {
        let name = format!("seal-{round}-{attempt}");
        let label = globex.post(&company.parcel.url("/labels"), &name, &json!({ "to": "x" })).await?.expect(201)?;
        let id = label.body["id"].as_str().unwrap_or_default();
        let tag = aws_lc_rs::hmac::sign(&key, id.as_bytes());
        let expected: String = tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        if label.body["seal"] == expected.as_str() {
            return Ok(expected);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the new secret was not used within 3 s".into())
}
