use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use http::{HeaderValue, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use super::keys::first_key_only;
use super::telemetry::tells_apart;
use super::usage::bills;
use super::{Mutant, arrives, inside, with};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "what is metered is answered without a principal",
        clause: "HB-INV-001",
        make: |sound| {
            arrives(sound, |received| {
                received.spans.iter_mut().for_each(|span| _ = span.attributes.remove("halfbyte.principal.kind"));
            })
        },
    },
    Mutant {
        what: "work in the background is billed that no request asked for",
        clause: "HB-INV-001",
        make: |sound| with(sound, |platform, routes| bills(platform, routes, |status| status == 200)),
    },
    Mutant {
        what: "who is refused is billed",
        clause: "HB-INV-002",
        make: |sound| with(sound, |platform, routes| bills(platform, routes, |status| status == 403)),
    },
    Mutant {
        what: "the product puts the end of a token into its spans",
        clause: "HB-INV-003",
        make: |sound| inside(sound, |routes| routes.layer(from_fn(tells_apart))),
    },
    Mutant {
        what: "half of a secret is in a header of answers",
        clause: "HB-INV-003",
        make: |sound| {
            with(sound, |platform, routes| {
                let wax = platform.secrets().get::<SecretString>("wax");
                routes.layer(from_fn(move |request: Request, next: Next| {
                    let half = wax.load().ok().map(|wax| {
                        let wax = wax.expose_secret().expose_secret();
                        HeaderValue::from_str(&wax[..wax.len() / 2]).unwrap()
                    });
                    async move {
                        let mut response = next.run(request).await;
                        response.headers_mut().extend(half.map(|half| (http::header::ETAG, half)));
                        response
                    }
                }))
            })
        },
    },
    Mutant { what: "keys of the start are the only ones", clause: "HB-INV-004", make: first_key_only },
    Mutant {
        what: "a secret is read once, and what is newer is an error",
        clause: "HB-INV-004",
        make: |sound| {
            with(sound, |platform, routes| {
                let wax = platform.secrets().get::<SecretString>("wax");
                let first = AtomicU64::new(0);
                let first = std::sync::Arc::new(first);
                routes.layer(from_fn(move |request: Request, next: Next| {
                    let now = wax.generation();
                    let known = first
                        .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed)
                        .unwrap_or_else(|known| known);
                    async move {
                        let is_other = known != 0 && known != now;
                        if is_other {
                            StatusCode::INTERNAL_SERVER_ERROR.into_response()
                        } else {
                            next.run(request).await
                        }
                    }
                }))
            })
        },
    },
];
