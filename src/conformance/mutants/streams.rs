use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::Response;
use futures_util::StreamExt as _;
use halfbyte_core::Principal;
use halfbyte_core::lifecycle::Phase;
use jiff::SignedDuration;

use super::{Mutant, inside, with};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a stream outlives the token that opened it, unless that is revoked",
        clause: "HB-AUTH-016",
        make: |sound| {
            inside(sound, |routes| {
                routes.layer(from_fn(async |mut request: Request, next: Next| {
                    let longer = request.extensions().get::<Principal>().map(for_an_hour);
                    longer.into_iter().for_each(|longer| drop(request.extensions_mut().insert(longer)));
                    next.run(request).await
                }))
            })
        },
    },
    Mutant {
        what: "streams are ended when the drain begins",
        clause: "HB-LIFE-010",
        make: |sound| {
            with(sound, |platform, routes| {
                let life = platform.lifecycle().clone();
                routes.layer(map_response(move |response: Response| {
                    let life = life.clone();
                    let until = async move { life.reached(Phase::Draining).await };
                    let short = |body: Body| Body::from_stream(body.into_data_stream().take_until(Box::pin(until)));
                    std::future::ready(response.map(short))
                }))
            })
        },
    },
];

/// The same caller, with a credential that is good for longer.
fn for_an_hour(caller: &Principal) -> Principal {
    let end = caller.expires_at() + SignedDuration::from_hours(1);
    let longer = Principal::builder(caller.subject(), caller.tenant().clone(), end).kind(caller.kind());
    let longer = longer.scopes(caller.scopes()).issuer(caller.issuer()).issued_at(caller.issued_at());
    longer.credential_id(caller.credential_id()).session(caller.session()).build()
}
