use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use halfbyte_billing::{IdempotencyKey, Reservation};
use halfbyte_core::config::{BillingBackend, Config};
use halfbyte_core::{Principal, TenantId};
use http::{HeaderValue, Method};
use http_body_util::BodyExt as _;

use super::super::Conformance;
use super::{Mutant, configured, inside, with};
use crate::platform::Platform;

const KEY: &str = "idempotency-key";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "all who have no tenant are one",
        clause: "HB-AUTH-005",
        make: |sound| {
            inside(sound, |routes| {
                routes.layer(from_fn(async |mut request: Request, next: Next| {
                    let caller = request.extensions().get::<Principal>();
                    let lone = caller.filter(|caller| caller.tenant().as_str().starts_with("subject:"));
                    let one = lone.map(|caller| {
                        let tenant = TenantId::new("everybody").unwrap();
                        let one = Principal::builder(caller.subject(), tenant, caller.expires_at());
                        one.kind(caller.kind()).scopes(caller.scopes()).issuer(caller.issuer()).build()
                    });
                    one.into_iter().for_each(|one| drop(request.extensions_mut().insert(one)));
                    next.run(request).await
                }))
            })
        },
    },
    Mutant {
        what: "a middleware that calls the handler once more, under a key of its own, to be sure",
        clause: "HB-USE-001",
        make: |sound| inside(sound, |routes| routes.layer(from_fn(twice))),
    },
    Mutant {
        what: "what fails is billed as well",
        clause: "HB-USE-001",
        make: |sound| with(sound, |platform, routes| bills(platform, routes, |status| status == 400 || status == 422)),
    },
    Mutant {
        what: "who hangs up is billed whatever came of it",
        clause: "HB-USE-001",
        make: |sound| with(sound, bills_the_lost),
    },
    Mutant {
        what: "a proxy drops the Idempotency-Key",
        clause: "HB-USE-002",
        make: |sound| {
            inside(sound, |routes| {
                routes.layer(from_fn(async |mut request: Request, next: Next| {
                    request.headers_mut().remove("idempotency-key");
                    next.run(request).await
                }))
            })
        },
    },
    Mutant {
        what: "the Idempotency-Key is lost over HTTP/2",
        clause: "HB-USE-002",
        make: |sound| {
            inside(sound, |routes| {
                routes.layer(from_fn(async |mut request: Request, next: Next| {
                    if request.version() == http::Version::HTTP_2 {
                        request.headers_mut().remove("idempotency-key");
                    }
                    next.run(request).await
                }))
            })
        },
    },
    Mutant {
        what: "a process counts in a copy of the store, which goes with it",
        clause: "HB-USE-004",
        make: |sound| configured(sound, copy_of_the_store),
    },
    Mutant { what: "keys are of the process that has seen them", clause: "HB-USE-004", make: keys_of_the_process },
    Mutant {
        what: "who lacks a scope is billed for having asked",
        clause: "HB-USE-005",
        make: |sound| with(sound, |platform, routes| bills(platform, routes, |status| status == 403)),
    },
];

async fn twice(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else { return Response::new(Body::empty()) };
    let mut again = parts.clone();
    again.headers.insert("idempotency-key", HeaderValue::from_static("to be sure"));
    next.clone().run(Request::from_parts(again, Body::from(body.clone()))).await;
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// Bills the callers of all answers with such a status.
pub(super) fn bills(platform: &Platform, routes: Router, whom: fn(u16) -> bool) -> Router {
    let platform = platform.clone();
    routes.layer(from_fn(move |request: Request, next: Next| {
        let platform = platform.clone();
        async move {
            let tenant = request.extensions().get::<Principal>().map(|caller| caller.tenant().clone());
            let response = next.run(request).await;
            if let Some(tenant) = tenant.filter(|_| whom(response.status().as_u16())) {
                bill(&platform, &tenant).await;
            }
            response
        }
    }))
}

pub(super) async fn bill(platform: &Platform, tenant: &TenantId) {
    let billing = platform.billing();
    for feature in ["things", "seals"] {
        let hour = std::time::Duration::from_secs(3600);
        let Ok(Reservation::Held(held)) = billing.reserve(tenant, feature, 1, hour).await else { continue };
        let key = IdempotencyKey::unique();
        billing.settle_reserved(&held, 1, key).await.unwrap();
    }
}

/// Bills callers whose request did not come to its end, and was not answered well.
fn bills_the_lost(platform: &Platform, routes: Router) -> Router {
    struct Lost(Option<(Platform, TenantId)>, Arc<AtomicBool>);
    impl Drop for Lost {
        fn drop(&mut self) {
            let lost = self.0.take().filter(|_| !self.1.load(Ordering::Relaxed));
            if let Some((platform, tenant)) = lost {
                drop(tokio::spawn(async move { bill(&platform, &tenant).await }));
            }
        }
    }
    let platform = platform.clone();
    routes.layer(from_fn(move |request: Request, next: Next| {
        let tenant = request.extensions().get::<Principal>().map(|caller| caller.tenant().clone());
        let has_ended = Arc::new(AtomicBool::new(false));
        let lost = Lost(tenant.map(|tenant| (platform.clone(), tenant)), has_ended.clone());
        let request = request.map(|body| {
            let ended = stream::poll_fn(move |_| {
                has_ended.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            });
            Body::from_stream(body.into_data_stream().chain(ended))
        });
        async move {
            let mut lost = lost;
            let response = next.run(request).await;
            if response.status().as_u16() < 400 {
                lost.0 = None;
            }
            response
        }
    }))
}

/// The store that each folder of a product was given last, and the folders of these stores, which go with the process.
static STORES: Mutex<Vec<(PathBuf, tempfile::TempDir)>> = Mutex::new(Vec::new());

/// Gives each process all that the one before it knew: customers, plans and what was used by then. What it writes no other sees.
pub(super) fn copy_of_the_store(config: Config) -> Config {
    const NAME: &str = "billing.sqlite";
    let home = config.home.clone();
    let mut stores = STORES.lock().unwrap();
    let of_before = stores.iter().rev().find(|(of, _)| *of == home).map(|(_, folder)| folder.path().to_owned());
    let from = of_before.unwrap_or_else(|| home.join("billing"));
    let folder = tempfile::tempdir().unwrap();
    // With what is not in the database yet; the third file of SQLite is made anew.
    for name in [NAME, "billing.sqlite-wal"].into_iter().filter(|name| from.join(name).exists()) {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let store = BillingBackend::Sqlite(Some(folder.path().join(NAME)));
    stores.push((home, folder));
    Config { billing: store, ..config }
}

/// Makes the keys of clients those of the process as well.
fn keys_of_the_process(sound: Conformance) -> Conformance {
    with(sound, |_platform, routes| {
        let process = uuid::Uuid::new_v4().simple().to_string();
        routes.layer(from_fn(move |mut request: Request, next: Next| {
            let key =
                request.headers().get(KEY).and_then(|key| key.to_str().ok()).map(|key| format!("{key}-{process}"));
            let key = key.and_then(|key| HeaderValue::from_str(&key).ok());
            key.into_iter().for_each(|key| drop(request.headers_mut().insert(KEY, key)));
            next.run(request)
        }))
    })
}
