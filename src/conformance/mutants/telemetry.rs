use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use halfbyte_core::lifecycle::Phase;
use halfbyte_observe::ServerLayer;
use halfbyte_observe::opentelemetry::trace::TraceContextExt as _;
use halfbyte_observe::opentelemetry::{Context, KeyValue, global};
use http::header::AUTHORIZATION;

use super::{Mutant, arrives, inside, outside, with};
use crate::platform::Platform;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a second layer traces and counts each request again",
        clause: "HB-TEL-001",
        make: |sound| outside(sound, |service| service.layer(ServerLayer::new())),
    },
    Mutant {
        what: "a route is answered in front of all layers",
        clause: "HB-TEL-001",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    if request.uri().path() == "/" {
                        Response::new(Body::from("hello"))
                    } else {
                        next.run(request).await
                    }
                }))
            })
        },
    },
    Mutant {
        what: "a proxy drops the trace context",
        clause: "HB-TEL-001",
        make: |sound| {
            outside(sound, |service| {
                service.layer(from_fn(async |mut request: Request, next: Next| {
                    request.headers_mut().remove("traceparent");
                    next.run(request).await
                }))
            })
        },
    },
    Mutant {
        what: "spans do not say who called",
        clause: "HB-TEL-001",
        make: |sound| {
            arrives(sound, |received| {
                received.spans.iter_mut().for_each(|span| _ = span.attributes.remove("halfbyte.tenant"));
            })
        },
    },
    Mutant {
        what: "the product gives spans an attribute of the platform's that the contract does not know",
        clause: "HB-TEL-001",
        make: |sound| {
            inside(sound, |routes| {
                routes.layer(from_fn(async |request: Request, next: Next| {
                    Context::current().span().set_attribute(KeyValue::new("halfbyte.tenantId", "acme"));
                    next.run(request).await
                }))
            })
        },
    },
    Mutant {
        what: "a metric of the platform's that the contract does not know",
        clause: "HB-TEL-001",
        make: |sound| with(sound, unknown_metric),
    },
    Mutant {
        what: "the gauges of what a product needs are lost on the way",
        clause: "HB-TEL-002",
        make: |sound| {
            arrives(sound, |received| received.metrics.retain(|metric| metric.name != "halfbyte.check.ready"))
        },
    },
    Mutant {
        what: "the product logs what was asked for, with the query",
        clause: "HB-TEL-003",
        make: |sound| {
            inside(sound, |routes| {
                routes.layer(from_fn(async |request: Request, next: Next| {
                    tracing::info!("asked for {}", request.uri());
                    next.run(request).await
                }))
            })
        },
    },
    Mutant {
        what: "the product puts the end of a token into its spans, to tell callers apart",
        clause: "HB-TEL-003",
        make: |sound| inside(sound, |routes| routes.layer(from_fn(tells_apart))),
    },
    Mutant {
        what: "the metrics of billing are lost on the way",
        clause: "HB-TEL-004",
        make: |sound| {
            arrives(sound, |received| received.metrics.retain(|metric| metric.name != "halfbyte.billing.overage"))
        },
    },
];

pub(super) async fn tells_apart(request: Request, next: Next) -> Response {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let end = token.rsplit('.').next().unwrap_or_default().to_owned();
    Context::current().span().set_attribute(KeyValue::new("caller", end));
    next.run(request).await
}

/// As long as the product serves: metrics cannot be taken back.
fn unknown_metric(platform: &Platform, routes: Router) -> Router {
    let life = platform.lifecycle().clone();
    let meter = global::meter("halfbyte");
    let _forever = meter
        .u64_observable_gauge("halfbyte.requests.seen")
        .with_callback(move |gauge| {
            if life.phase() < Phase::Flushing {
                gauge.observe(7, &[]);
            }
        })
        .build();
    routes
}
