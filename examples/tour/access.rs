//! Whom policies let have what, and why.

use std::time::Duration;

use halfbyte::TenantId;
use halfbyte::core::{Principal, PrincipalKind};
use halfbyte::identity::access::{Asked, Entity, Rules};
use jiff::Timestamp;
use serde_json::json;

use crate::Outcome;
use crate::company::Company;
use crate::http::Answer;
use crate::parcel::access::{READ_LABEL, policies};
use crate::screen::Screen;

const ISOLATION: &str = "halfbyte.tenant-isolation";

pub async fn show(screen: &mut Screen, company: &Company) -> Outcome {
    screen.step(
        "Another tenant's label",
        "Policies say what a caller may do. What is of another tenant no policy of a product can permit,\n\
         and nobody learns whether it is there.",
    );
    let acme = company.sign_in("acme-app", "labels:read labels:write").await?;
    let label = acme.post(&company.parcel.url("/labels"), "first", &json!({ "to": "1 Main Street" })).await?;
    let id = label.expect(201)?.body["id"].as_str().ok_or("the label has no id")?.to_owned();
    let url = |id: &str| company.parcel.url(&format!("/labels/{id}"));
    let globex = company.sign_in("globex-app", "labels:read").await?;
    let theirs = globex.get(&url(&id)).await?;
    screen.say(&format!("globex asks for acme's label            → {} {}", theirs.status, theirs.problem()));
    let nowhere = globex.get(&url("nowhere")).await?;
    screen.say(&format!("globex asks for one that there is not   → {} {}", nowhere.status, nowhere.problem()));
    if (theirs.status, theirs.problem()) != (403, "forbidden") || told(&theirs) != told(&nowhere) {
        return Err(format!("the two should be forbidden in the same words: {} {}", theirs.body, nowhere.body).into());
    }
    screen.detail(theirs.body["detail"].as_str().unwrap_or_default());
    logged(screen, company, &theirs).await?;
    explained(screen, &id)?;
    screen.seen("403 forbidden, in the same words; the log and the explanation say which policy it was");
    Ok(())
}

/// What a client sees, but for what names the one request.
fn told(answer: &Answer) -> (u16, serde_json::Value, Vec<&str>) {
    let mut body = answer.body.clone();
    for member in ["request_id", "trace_id"] {
        body[member] = serde_json::Value::Null;
    }
    let headers = answer.headers.keys().map(|name| name.as_str()).collect();
    (answer.status, body, headers)
}

/// The decision log, where whoever operates Parcel sees it: at the collector.
async fn logged(screen: &Screen, company: &Company, answer: &Answer) -> Outcome {
    let trace_id = answer.body["trace_id"].as_str();
    let is_it = |log: &halfbyte::observe::testing::Log| {
        log.target == "halfbyte::decisions" && log.trace_id.as_deref() == trace_id
    };
    let arrived = company.collector.wait_for(|received| received.logs.iter().any(is_it), Duration::from_secs(5)).await;
    let log = company.collector.logs().into_iter().find(is_it).filter(|_| arrived);
    let log = log.ok_or("the decision is not in the log")?;
    screen.say("in Parcel's log, for who operates it:");
    screen.detail(&format!("{} {}", log.severity, log.body));
    for name in ["principal", "tenant", "policies"] {
        screen.detail(&format!("{name:9} {}", log.attributes.get(name).ok_or("the log lacks an attribute")?));
    }
    Ok(())
}

/// The same question once more, outside of any request.
fn explained(screen: &Screen, id: &str) -> Outcome {
    let rules = Rules::compile(&policies())?;
    let globex = Principal::builder("globex-app", TenantId::new("globex")?, Timestamp::MAX);
    let globex = globex.kind(PrincipalKind::Service).scopes(["labels:read"]).build();
    let label = Entity::new("Label", id).of_tenant(&TenantId::new("acme")?);
    let explanation = rules.explain(&Asked::new(&globex, READ_LABEL.name(), &label));
    screen.say("and why, as `cargo run --example explain -- why` answers:");
    for line in explanation.to_string().lines().filter(|line| !line.is_empty()) {
        screen.detail(line);
    }
    if explanation.decision.policies.iter().any(|policy| &**policy == ISOLATION) {
        Ok(())
    } else {
        Err(format!("{ISOLATION} should have decided").into())
    }
}
