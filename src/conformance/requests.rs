//! HB-REQ: what holds for every request.

use http::HeaderName;

use super::bench::Bench;
use super::check::{Check, Found, Holds, ensure};

pub(super) const CHECKS: &[Check] = &[Check {
    clause: "HB-REQ-001",
    what: "a response has the request's id if that is well-formed, and else one of its own",
    run: |bench| Box::pin(request_id(bench)),
}];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

async fn request_id(bench: &mut Bench<'_>) -> Found {
    let longest = "x".repeat(64);
    let too_long = "x".repeat(65);
    for route in bench.manifest().routes {
        for kept in ["order-7", "A.b_9-z", &longest] {
            let answer = bench.send(bench.ask(&route, "nobody").header(REQUEST_ID, kept)).await?;
            let got = answer.header("x-request-id");
            ensure(got == Some(kept), || format!("{kept:?} came back as {got:?}"))?;
        }
        for replaced in ["", "a b", "x\"y", &too_long] {
            let answer = bench.send(bench.ask(&route, "nobody").header(REQUEST_ID, replaced)).await?;
            let got = answer.header("x-request-id");
            let is_new = got.and_then(|id| uuid::Uuid::parse_str(id).ok()).is_some_and(|id| id.get_version_num() == 7);
            ensure(is_new, || format!("{replaced:?} was answered with the id {got:?}"))?;
        }
    }
    Ok(Holds::Yes)
}
