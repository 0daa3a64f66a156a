//! HB-REF: what refusals look like.

use halfbyte_core::problem::Kind;

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};
use super::client::Answer;

pub(super) const CHECKS: &[Check] = &[Check {
    clause: "HB-REF-001",
    what: "who calls a guarded route without credentials is refused with unauthenticated",
    run: |bench| Box::pin(unauthenticated(bench)),
}];

/// Whether `answer` is the row of `kind`, whole, over HTTP.
pub(super) fn is_refusal(answer: &Answer, kind: Kind) -> Result<(), String> {
    ensure(answer.status == kind.status(), || format!("{} and not {}", answer.status, kind.status()))?;
    let content_type = answer.header("content-type");
    ensure(content_type == Some("application/problem+json"), || format!("the content-type is {content_type:?}"))?;
    let problem = answer.json()?;
    ensure(problem["type"] == kind.urn(), || format!("the type is {} and not {}", problem["type"], kind.urn()))?;
    ensure(problem["title"] == kind.title(), || format!("the title is {}", problem["title"]))?;
    ensure(problem["status"] == kind.status().as_u16(), || format!("the body says {}", problem["status"]))?;
    let id = answer.header("x-request-id");
    ensure(problem["request_id"].as_str() == id, || format!("the body is of request {}", problem["request_id"]))
}

async fn unauthenticated(bench: &mut Bench<'_>) -> Found {
    let routes = bench.routes(false);
    if routes.is_empty() {
        return Ok(Holds::NotHere("no route is guarded"));
    }
    for route in routes {
        let answer = bench.send(bench.ask(&route, "nobody")).await?;
        is_refusal(&answer, Kind::Unauthenticated)?;
    }
    Ok(Holds::Yes)
}
