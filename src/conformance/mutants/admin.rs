use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use halfbyte_core::lifecycle::Phase;
use halfbyte_observe::opentelemetry::{KeyValue, global};
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_LENGTH};

use super::super::Conformance;
use super::{Mutant, admin, arrives, with};
use crate::platform::Platform;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "a proxy before the admin listener has a page of its own for what is not there",
        clause: "HB-LIFE-001",
        make: |sound| {
            admin(sound, |service| {
                service.layer(from_fn(async |request: Request, next: Next| {
                    let response = next.run(request).await;
                    if response.status() == StatusCode::NOT_FOUND {
                        return (StatusCode::NOT_FOUND, "there is no such page").into_response();
                    }
                    response
                }))
            })
        },
    },
    Mutant {
        what: "the limit of requests at once is lost on the way",
        clause: "HB-TEL-005",
        make: |sound| {
            arrives(sound, |received| received.metrics.retain(|metric| metric.name != "halfbyte.load_shed.limit"))
        },
    },
    Mutant {
        what: "streams are not counted among who holds a place",
        clause: "HB-TEL-005",
        make: |sound| {
            arrives(sound, |received| {
                let is_of_streams = |value: &halfbyte_observe::testing::Value| *value == "streaming";
                for metric in &mut received.metrics {
                    metric.points.retain(|point| !point.attributes.values().any(is_of_streams));
                }
            })
        },
    },
    Mutant {
        what: "a page of metrics says twice what a family is",
        clause: "HB-TEL-006",
        make: |sound| pages(sound, |page| page.clone() + &page),
    },
    Mutant {
        what: "a page of metrics has lost a family",
        clause: "HB-TEL-006",
        make: |sound| pages(sound, |page| lines(&page, |line| !line.contains("halfbyte_check_ready"))),
    },
    Mutant {
        what: "a page of metrics calls a metric of the platform by another name",
        clause: "HB-TEL-006",
        make: |sound| pages(sound, |page| page.replace("halfbyte_billing_overage", "halfbyte_billing_excess")),
    },
    Mutant { what: "a product counts its tenants", clause: "HB-TEL-006", make: |sound| with(sound, of_tenants) },
    Mutant {
        what: "a page of metrics is of long ago",
        clause: "HB-TEL-006",
        make: |sound| {
            pages(sound, |page| lines(&page, |line| !line.starts_with("http_server_request_duration_seconds_count")))
        },
    },
    Mutant {
        what: "who prefers OpenMetrics does not get it",
        clause: "HB-TEL-006",
        make: |sound| {
            admin(sound, |service| {
                service.layer(from_fn(async |mut request: Request, next: Next| {
                    request.headers_mut().remove(ACCEPT);
                    next.run(request).await
                }))
            })
        },
    },
];

/// Changes the page of metrics.
fn pages(sound: Conformance, change: fn(String) -> String) -> Conformance {
    let of_metrics = move |service: Router| {
        service.layer(from_fn(move |request: Request, next: Next| async move {
            let is_it = request.uri().path() == "/metrics" && request.method() == http::Method::GET;
            let response: Response = next.run(request).await;
            if !is_it {
                return response;
            }
            let (mut head, body) = response.into_parts();
            let page = to_bytes(body, usize::MAX).await.unwrap_or_default();
            head.headers.remove(CONTENT_LENGTH);
            Response::from_parts(head, Body::from(change(String::from_utf8_lossy(&page).into_owned())))
        }))
    };
    admin(sound, of_metrics)
}

fn lines(page: &str, keep: fn(&str) -> bool) -> String {
    page.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect()
}

/// As long as the product serves: metrics cannot be taken back.
fn of_tenants(platform: &Platform, routes: Router) -> Router {
    let life = platform.lifecycle().clone();
    let calls = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::<String, u64>::new()));
    let seen = calls.clone();
    let _forever = global::meter("product")
        .u64_observable_gauge("product.calls")
        .with_callback(move |gauge| {
            if life.phase() < Phase::Flushing {
                let calls = seen.lock().unwrap();
                calls.iter().for_each(|(tenant, calls)| gauge.observe(*calls, &[KeyValue::new("by", tenant.clone())]));
            }
        })
        .build();
    routes.layer(from_fn(move |request: Request, next: Next| {
        let caller = request.extensions().get::<halfbyte_core::Principal>();
        let tenant = caller.map(|caller| caller.tenant().as_str().to_owned());
        tenant.into_iter().for_each(|tenant| *calls.lock().unwrap().entry(tenant).or_default() += 1);
        next.run(request)
    }))
}
