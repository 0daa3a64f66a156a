//! What a route asks of a plan, and where the plans come from.

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use halfbyte::billing::{
    Bucket, Catalog, CatalogSource, Entitled, FeatureName, GrantSpec, Operation, Per, Period, Standing, UsageQuery,
};
use halfbyte::{Contract, Error, ErrorKind, FeatureGuard, Platform, Principal, TenantId};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::start;

const CATALOG: &str = r#"
    [products.parcel]
    [meters.labels]
    product = "parcel"
    group-by = ["region"]
    [features.labels]
    product = "parcel"
    meter = "labels"
    [plans.starter]
    features.labels = { limit = 10, per = "month" }
    [plans.prepaid]
    features.labels = "prepaid"
"#;

struct Labels;
impl FeatureName for Labels {
    const NAME: &'static str = "labels";
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

async fn with_source(folder: &Path, source: impl Into<CatalogSource>) -> Result<Platform, Error> {
    let builder = Platform::builder("parcel", Contract::V1).config(start::config(folder, &[]).unwrap());
    builder.catalog_source(source).start().await
}

/// A platform on which acme has `plan`.
async fn platform(folder: &Path, plan: &str) -> Platform {
    let platform = start::start(folder, CATALOG).await.unwrap();
    platform.billing().customers().create(&acme()).await.unwrap();
    platform.billing().customers().subscribe(&acme(), plan).await.unwrap();
    platform
}

fn guard(platform: &Platform) -> FeatureGuard {
    platform.require(&[]).feature("labels").unwrap()
}

/// Asks for `path` behind `guard`; the handler says how many units it was where the path names a number. Answers the
/// status and the last part of a problem's type.
async fn ask(platform: &Platform, guard: &FeatureGuard, path: &str) -> (u16, String) {
    let handler = service_fn(async |request: Request<Full<&'static [u8]>>| {
        let said = request.uri().path().rsplit('/').next().and_then(|last| last.parse().ok());
        if let (Some(units), Some(entitled)) = (said, Entitled::<Labels>::of(request.extensions())) {
            assert!(entitled.settle_units(units));
        }
        let status = if request.uri().path() == "/fails" { 500 } else { 200 };
        Ok::<_, Infallible>(
            Response::builder().status(status).header("x-made", "3").body(Full::from("0123456789")).unwrap(),
        )
    });
    let mut request = Request::builder().uri(path).body(Full::default()).unwrap();
    let expires_at = platform.lifecycle().clock().now() + jiff::SignedDuration::from_hours(1);
    request.extensions_mut().insert(Principal::builder("ann", acme(), expires_at).build());
    let response = guard.layer(handler).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    // To its end: what counts the body is settled there.
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind = problem["type"].as_str().and_then(|urn| urn.rsplit(':').next()).unwrap_or_default();
    (status, kind.to_owned())
}

async fn used(platform: &Platform) -> u64 {
    let usage = platform.billing().usage_of(&acme()).await.unwrap();
    u64::try_from(usage[0].used).unwrap()
}

#[tokio::test]
async fn a_route_says_what_it_reserves_what_it_counts_and_what_it_keeps_apart() {
    let folder = tempfile::tempdir().unwrap();
    let platform = platform(folder.path(), "starter").await;
    let good = (200, String::new());
    assert_eq!(ask(&platform, &guard(&platform).units(|_| 2), "/").await, good);
    assert_eq!(used(&platform).await, 2);
    assert_eq!(ask(&platform, &guard(&platform).units(|_| 5), "/made/1").await, good);
    assert_eq!(used(&platform).await, 3, "the handler said so");
    let of_response = guard(&platform)
        .units_of_response(|answered| answered.headers.get("x-made")?.to_str().ok()?.parse().ok())
        .dimensions(|asked| asked.uri.path().starts_with("/eu").then(|| r#"{"region":"eu"}"#.to_owned()));
    assert_eq!(ask(&platform, &of_response, "/eu").await, good);
    assert_eq!(used(&platform).await, 6);
    assert_eq!(ask(&platform, &guard(&platform).units_of_body(NonZeroU64::new(9).unwrap()), "/").await, good);
    assert_eq!(used(&platform).await, 8, "10 bytes are 2 units of 9");
    assert_eq!(ask(&platform, &guard(&platform).at_end_of_body(), "/").await, good);
    assert_eq!(ask(&platform, &guard(&platform), "/fails").await.0, 500);
    assert_eq!(ask(&platform, &guard(&platform).bill_when(|status, _| status != 200), "/").await, good);
    assert_eq!(used(&platform).await, 9, "neither is to be paid for");
    assert_eq!(ask(&platform, &guard(&platform).bill_failures(true), "/fails").await.0, 500);
    assert_eq!(used(&platform).await, 10);
    assert_eq!(ask(&platform, &guard(&platform), "/").await, (429, "quota-exhausted".into()));
    assert_eq!(ask(&platform, &guard(&platform).units(|_| 0), "/").await, good);

    let month = Period::containing(platform.lifecycle().clock().now(), Per::Month);
    let query = UsageQuery::new("labels", &acme()).period(month).group_by(&["region"]).bucket(Bucket::Whole);
    let rows = platform.billing().query(&query).await.unwrap().rows;
    let rows: Vec<_> = rows.iter().map(|row| (row.dimensions["region"].as_str(), row.value)).collect();
    assert_eq!(rows, [("", 7.into()), ("eu", 3.into())]);
}

#[tokio::test]
async fn who_has_to_pay_is_refused_with_402_and_served_once_something_is_paid() {
    let folder = tempfile::tempdir().unwrap();
    let platform = platform(folder.path(), "prepaid").await;
    let (customers, guard) = (platform.billing().customers(), guard(&platform));
    assert_eq!(ask(&platform, &guard, "/").await, (402, "payment-required".into()), "nothing is paid");
    customers.grant(&acme(), GrantSpec::new("invoice-1", "labels", 1)).await.unwrap();
    assert_eq!(ask(&platform, &guard, "/").await.0, 200);
    assert_eq!(ask(&platform, &guard, "/").await, (402, "payment-required".into()), "what was paid is used up");

    customers.subscribe(&acme(), "starter").await.unwrap();
    let owes = |standing| Operation::SetStanding { standing };
    customers.operate("dunning-1", &acme(), owes(Standing::PastDue)).await.unwrap();
    assert_eq!(ask(&platform, &guard, "/").await, (402, "payment-required".into()), "past due");
    customers.operate("payment-1", &acme(), owes(Standing::Good)).await.unwrap();
    assert_eq!(ask(&platform, &guard, "/").await.0, 200);
}

#[tokio::test]
async fn a_catalogue_in_a_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plans.toml");
    std::fs::write(&file, CATALOG).unwrap();
    let platform = with_source(folder.path(), CatalogSource::File(file.clone())).await.unwrap();
    let customers = platform.billing().customers();
    customers.create(&acme()).await.unwrap();
    assert!(customers.subscribe(&acme(), "pro").await.is_err());
    std::fs::write(&file, format!("{CATALOG}[plans.pro]\nfeatures.labels = \"unlimited\"\n")).unwrap();
    let followed = async {
        while customers.subscribe(&acme(), "pro").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), followed).await.expect("the change is not seen");
    assert_eq!(ask(&platform, &guard(&platform), "/").await.0, 200);
}

#[tokio::test]
async fn a_catalogue_file_that_cannot_be_used_is_the_configurations_fault_and_a_store_without_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plans.toml");
    std::fs::write(&file, CATALOG.replace("limit = 10", "limit = -10")).unwrap();
    let error = with_source(folder.path(), CatalogSource::File(file)).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Configuration, 78));
    assert!(format!("{error:?}").contains("plans.toml:10"), "{error:?}");

    let error = with_source(folder.path(), CatalogSource::Store).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Unavailable, 69));
    assert!(format!("{error:?}").contains("publish"), "{error:?}");
    let office = start::start(folder.path(), CATALOG).await.unwrap();
    office.billing().customers().publish(&Catalog::parse("plans.toml", CATALOG).unwrap()).await.unwrap();
    let platform = with_source(folder.path(), CatalogSource::Store).await.unwrap();
    assert_eq!(ask(&platform, &guard(&platform), "/").await, (403, "not-entitled".into()));
}
