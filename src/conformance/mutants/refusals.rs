use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http::StatusCode;

use super::{Mutant, outside};

pub(super) const MUTANTS: &[Mutant] = &[Mutant {
    what: "who has no credentials is told that he may not",
    clause: "HB-REF-001",
    make: |sound| {
        outside(sound, |service| {
            service.layer(from_fn(async |request: Request, next: Next| {
                let mut response = next.run(request).await;
                if response.status() == StatusCode::UNAUTHORIZED {
                    *response.status_mut() = StatusCode::FORBIDDEN;
                }
                response
            }))
        })
    },
}];
