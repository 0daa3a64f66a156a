use axum::extract::Request;
use axum::middleware::{Next, from_fn};

use super::{Mutant, outside};

pub(super) const MUTANTS: &[Mutant] = &[Mutant {
    what: "the id of the request is lost",
    clause: "HB-REQ-001",
    make: |sound| {
        outside(sound, |service| {
            service.layer(from_fn(async |request: Request, next: Next| {
                let mut response = next.run(request).await;
                response.headers_mut().remove("x-request-id");
                response
            }))
        })
    },
}];
