//! What a route asks the policies.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use halfbyte::billing::{Catalog, Customers, Operation};
use halfbyte::core::config::BillingBackend;
use halfbyte::core::home::Home;
use halfbyte::core::lifecycle::Phase;
use halfbyte::core::{BoxError, Clock, Lifecycle};
use halfbyte::identity::access::{
    Action, Authorized, DecisionLog, Entity, EntityProvider, EntityRef, Membership, SourceFile,
};
use halfbyte::observe::testing::capture;
use halfbyte::{Builder, Contract, Error, ErrorKind, Platform, Principal, TenantId};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::start;

const PRINT: Action = Action::new("PrintLabel");
const READ: Action = Action::new("ReadLabel");
const ORDER: Action = Action::new("OrderPaper");

const CATALOG: &str = r#"
    [products.parcel]
    [features.labels]
    product = "parcel"
    [plans.none]
    [plans.all]
    features.labels = true
"#;

const SCHEMA: &str = r#"
entity Label = { tenant: HalfByte::Tenant };
action PrintLabel appliesTo { principal: [HalfByte::User], resource: Label };
action ReadLabel in [HalfByte::Action::"Read"] appliesTo { principal: [HalfByte::User], resource: Label };
action OrderPaper appliesTo { principal: [HalfByte::User], resource: HalfByte::Tenant };
"#;

const POLICIES: &str = r#"permit (principal in HalfByte::Role::"clerk", action in [Action::"PrintLabel", Action::"ReadLabel"], resource);
permit (principal, action == Action::"OrderPaper", resource);
"#;

struct Desk;

impl EntityProvider for Desk {
    async fn is_suspended(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        Ok(tenant.as_str() == "initech")
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        let of = name.id().split('-').next().and_then(|tenant| tenant.parse::<TenantId>().ok());
        Ok(of.map(|tenant| Entity::named(name.clone()).of_tenant(&tenant)))
    }
}

fn builder(folder: &Path) -> Builder {
    let builder = Platform::builder("parcel", Contract::V1).config(start::config(folder, &[]).unwrap());
    builder.catalog("plans.toml", CATALOG)
}

fn files(policies: &str) -> [SourceFile; 2] {
    [SourceFile::new("parcel.cedarschema", SCHEMA), SourceFile::new("parcel.cedar", policies)]
}

async fn started(folder: &Path, policies: &str) -> Result<Platform, Error> {
    builder(folder).policies(files(policies)).entities(Desk).start().await
}

/// Asks for `path`; answers the status and the last part of a problem's type.
async fn ask(routes: &Router, path: &str, roles: &[&str]) -> (u16, String) {
    ask_of("acme", routes, path, roles).await
}

async fn ask_of(tenant: &str, routes: &Router, path: &str, roles: &[&str]) -> (u16, String) {
    let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let ann = Principal::builder("ann", tenant.parse().unwrap(), jiff::Timestamp::MAX);
    request.extensions_mut().insert(ann.scopes(["labels:write"]).roles(roles.iter().copied()).build());
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind = problem["type"].as_str().and_then(|urn| urn.rsplit(':').next()).unwrap_or_default();
    (status, kind.to_owned())
}

#[tokio::test]
async fn a_route_asks_for_scopes_and_then_the_policies_and_then_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    let guard = platform.require(&["labels:write"]).authorize(PRINT).in_path("Label", "/labels/{id}");
    let sold = guard.feature("labels").unwrap();
    let more = platform.require(&["labels:delete"]).authorize(PRINT).in_path("Label", "/{labels}/{id}");
    let shown = async |label: Authorized| label.name().id().to_owned();
    let routes = Router::new()
        .route("/labels/{id}", get(shown).layer(guard))
        .route("/labels/{id}/sold", get(shown).layer(sold))
        .route("/scopes/{id}", get(shown).layer(more));
    let good = (200, String::new());
    let refused = |status: u16, kind: &str| (status, kind.to_owned());
    assert_eq!(ask(&routes, "/labels/acme-1", &["clerk"]).await, good);
    assert_eq!(ask(&routes, "/labels/acme-1", &[]).await, refused(403, "forbidden"));
    assert_eq!(ask(&routes, "/labels/globex-1", &["clerk"]).await, refused(403, "forbidden"));
    assert_eq!(ask(&routes, "/labels/acme-1/sold", &["clerk"]).await, refused(403, "not-entitled"));
    assert_eq!(ask(&routes, "/labels/acme-1/sold", &[]).await, refused(403, "forbidden"));
    assert_eq!(ask(&routes, "/scopes/acme-1", &[]).await, refused(403, "insufficient-scope"));
    assert!(!format!("{platform:?}").contains("acme"));
}

#[tokio::test]
async fn who_has_not_signed_in_is_told_where_to_by_the_policies_too() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    let routes = Router::new().route("/", get(async || {})).layer(platform.access().authorize(PRINT));
    let response = routes.oneshot(Request::builder().uri("/").body(Body::empty()).unwrap()).await.unwrap();
    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("/.well-known/oauth-protected-resource"), "{challenge}");
}

#[tokio::test]
async fn policies_that_do_not_fit_their_schema_are_refused_at_start_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let policies = POLICIES.replace("PrintLabel", "PrintLabels");
    let error = started(folder.path(), &policies).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Configuration, 78));
    assert!(format!("{error:?}").contains("parcel.cedar:1"), "{error:?}");
}

/// Routes that print, order and read, as far as policies are concerned.
fn routes(platform: &Platform) -> Router {
    let asking = |action| platform.require(&[]).authorize(action);
    let sold = asking(PRINT).in_path("Label", "/sold/{id}").feature("labels").unwrap();
    let read_sold = asking(READ).in_path("Label", "/read/{id}").feature("labels").unwrap();
    Router::new()
        .route("/print/{id}", get(async || {}).layer(asking(PRINT).in_path("Label", "/print/{id}")))
        .route("/sold/{id}", get(async || {}).layer(sold))
        .route("/labels/{id}", get(async || {}).layer(asking(READ).in_path("Label", "/labels/{id}")))
        .route("/read/{id}", get(async || {}).layer(read_sold))
        .route("/paper", get(async || {}).layer(asking(ORDER)))
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

async fn with_acme(platform: &Platform) -> Customers {
    let customers = platform.billing().customers();
    customers.create(&acme()).await.unwrap();
    customers.subscribe(&acme(), "all").await.unwrap();
    customers
}

fn answer(status: u16, problem: &str) -> (u16, String) {
    (status, problem.to_owned())
}

#[tokio::test]
async fn a_tenant_whose_subscription_is_paused_may_only_read_until_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    let (customers, routes) = (with_acme(&platform).await, routes(&platform));
    let clerk = ["clerk"];
    for operation in [None, Some(Operation::Pause), Some(Operation::Resume)] {
        let is_paused = operation == Some(Operation::Pause);
        if let Some(operation) = operation {
            customers.operate(if is_paused { "pause" } else { "resume" }, &acme(), operation).await.unwrap();
        }
        let writing = if is_paused { answer(403, "forbidden") } else { answer(200, "") };
        for path in ["/print/acme-1", "/sold/acme-1", "/paper"] {
            assert_eq!(ask(&routes, path, &clerk).await, writing, "{path}, paused: {is_paused}");
        }
        assert_eq!(ask(&routes, "/labels/acme-1", &clerk).await, answer(200, ""));
        // What it may read, its plan must have all the same.
        let read_sold = if is_paused { answer(403, "not-entitled") } else { answer(200, "") };
        assert_eq!(ask(&routes, "/read/acme-1", &clerk).await, read_sold);
        assert_eq!(ask_of("globex", &routes, "/print/globex-1", &clerk).await, answer(200, ""), "it has no account");
    }
}

#[tokio::test]
async fn a_tenant_is_suspended_if_billing_says_so_or_the_product() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    let routes = routes(&platform);
    assert_eq!(ask_of("initech", &routes, "/paper", &[]).await, answer(403, "forbidden"));
    assert_eq!(ask_of("initech", &routes, "/labels/initech-1", &["clerk"]).await, answer(200, ""));
}

#[tokio::test]
async fn a_product_that_knows_nothing_of_tenants_has_them_suspended_too() {
    let folder = tempfile::tempdir().unwrap();
    let platform = builder(folder.path()).policies(files(POLICIES)).start().await.unwrap();
    let (customers, routes) = (with_acme(&platform).await, routes(&platform));
    assert_eq!(ask(&routes, "/paper", &[]).await, answer(200, ""));
    customers.operate("pause", &acme(), Operation::Pause).await.unwrap();
    assert_eq!(ask(&routes, "/paper", &[]).await, answer(403, "forbidden"));
}

#[tokio::test]
async fn a_suspension_by_the_back_office_shows_within_a_second_and_its_end_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    with_acme(&platform).await;
    let routes = routes(&platform);
    let (home, life) = (Home::open(folder.path().join("home")).unwrap(), Lifecycle::new(Clock::system()));
    let catalog = Catalog::parse("plans.toml", CATALOG).unwrap();
    let office = Customers::open(&BillingBackend::Sqlite(None), &home, catalog, &life).await.unwrap();
    office.operate("pause", &acme(), Operation::Pause).await.unwrap();
    let shows = async {
        while ask(&routes, "/paper", &[]).await != answer(403, "forbidden") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(1500), shows).await.expect("within a second");
    // Reads of the accounts that refusals cause are this far apart.
    tokio::time::sleep(Duration::from_millis(50)).await;
    office.operate("resume", &acme(), Operation::Resume).await.unwrap();
    assert_eq!(ask(&routes, "/paper", &[]).await, answer(200, ""));
}

#[tokio::test]
async fn when_nobody_knows_any_more_who_is_suspended_routes_that_ask_policies_are_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    with_acme(&platform).await.operate("pause", &acme(), Operation::Pause).await.unwrap();
    let routes = routes(&platform);
    let billing = folder.path().join("home/billing");
    std::fs::rename(&billing, folder.path().join("away")).unwrap();
    let pass = async |time| {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    };
    pass(Duration::from_secs(60)).await;
    assert_eq!(ask(&routes, "/paper", &[]).await, answer(403, "forbidden"), "as it was last known");
    assert_eq!(ask_of("globex", &routes, "/paper", &[]).await, answer(200, ""));
    pass(Duration::from_secs(245)).await;
    for tenant in ["acme", "globex"] {
        assert_eq!(ask_of(tenant, &routes, "/paper", &[]).await, answer(503, "unavailable"));
    }
}

async fn serve_in_vain(platform: Platform, routes: Router) -> Error {
    let served = tokio::time::timeout(Duration::from_secs(10), platform.serve(routes)).await;
    served.expect("it does not serve").unwrap_err()
}

#[tokio::test]
async fn routes_that_ask_policies_are_not_served_without_any_that_know_the_action() {
    let undeclared = r#"
action OrderPaper appliesTo { principal: [HalfByte::User], resource: HalfByte::Tenant };
"#;
    let known = [
        SourceFile::new("parcel.cedarschema", undeclared),
        SourceFile::new("parcel.cedar", "permit (principal, action, resource);"),
    ];
    for (policies, lacking) in
        [(&[][..], "Builder::policies"), (&known[..1], "Builder::policies"), (&known, "PrintLabel")]
    {
        let folder = tempfile::tempdir().unwrap();
        let platform = builder(folder.path()).policies(policies.to_vec()).start().await.unwrap();
        let routes = Router::new().route("/{id}", get(async || {}).layer(platform.require(&[]).authorize(PRINT)));
        let error = serve_in_vain(platform, routes).await;
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Configuration, 78));
        assert!(error.to_string().contains("PrintLabel") && error.to_string().contains(lacking), "{error}");
    }
}

#[tokio::test]
async fn what_handlers_ask_by_themselves_is_said_in_the_builder() {
    let folder = tempfile::tempdir().unwrap();
    let platform = builder(folder.path()).policies(files(POLICIES)).actions([PRINT, Action::new("PrintLable")]);
    let error = serve_in_vain(platform.start().await.unwrap(), Router::new()).await;
    assert!(error.to_string().contains("PrintLable, which no schema declares"), "{error}");
}

#[tokio::test]
async fn what_does_not_go_with_the_policies_is_logged_when_the_product_begins_to_serve() {
    let (capture, folder) = (capture(), tempfile::tempdir().unwrap());
    let _here = capture.enter();
    let platform = started(folder.path(), POLICIES).await.unwrap();
    let routes = Router::new().route("/{id}", get(async || {}).layer(platform.require(&[]).authorize(ORDER)));
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(platform.clone().serve(routes));
    platform.lifecycle().reached(Phase::Ready).await;
    let never = |action: &str| format!("the action {action} is declared, and the product never asks for it");
    let count = |part: String| capture.logs().iter().filter(|log| log.body.contains(&part)).count();
    let found = || ["PrintLabel", "ReadLabel", "OrderPaper"].map(|action| count(never(action)));
    let logged = async {
        while found() == [0; 3] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), logged).await.expect("it is logged");
    assert_eq!(found(), [1, 1, 0]);
}

/// Knows people by their groups, and labels by the box that they are in. Boxes it knows only several at once.
struct Depot;

impl EntityProvider for Depot {
    async fn principal(&self, _: &Principal) -> Result<Membership, BoxError> {
        Ok(Membership { groups: vec![EntityRef::new("HalfByte::Group", "packers")], ..Membership::default() })
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        let label = Entity::named(name.clone()).of_tenant(&acme()).parent(EntityRef::new("Box", "b-1"));
        Ok(Some(label).filter(|_| name.kind() == "Label"))
    }

    async fn entities(&self, names: &[EntityRef]) -> Result<Vec<Entity>, BoxError> {
        let boxes = names.iter().filter(|name| name.kind() == "Box");
        Ok(boxes.map(|name| Entity::named(name.clone()).parent(EntityRef::new("Shelf", "s-1"))).collect())
    }
}

#[tokio::test]
async fn what_policies_look_at_is_asked_of_the_product() {
    let schema = r#"
        entity Shelf;
        entity Box in [Shelf];
        entity Label in [Box] = { tenant: HalfByte::Tenant };
        action PrintLabel appliesTo { principal: HalfByte::User, resource: Label };
    "#;
    let policy = r#"permit (principal in HalfByte::Group::"packers", action, resource in Shelf::"s-1");"#;
    let files = [SourceFile::new("depot.cedarschema", schema), SourceFile::new("depot.cedar", policy)];
    let folder = tempfile::tempdir().unwrap();
    let platform = builder(folder.path()).policies(files).entities(Depot).start().await.unwrap();
    let guard = platform.require(&[]).authorize(PRINT).in_path("Label", "/{id}");
    let routes = Router::new().route("/{id}", get(async || {}).layer(guard));
    assert_eq!(ask(&routes, "/l-1", &[]).await, answer(200, ""));
}

#[tokio::test]
async fn a_product_hears_of_each_decision_that_its_guards_ask_for() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let log = DecisionLog::new().listen(move |record| {
        tell.lock().unwrap().push((record.resource.id().to_owned(), record.is_allowed));
    });
    let folder = tempfile::tempdir().unwrap();
    let platform =
        builder(folder.path()).policies(files(POLICIES)).entities(Desk).decisions(log).start().await.unwrap();
    let guard = platform.require(&[]).authorize(PRINT).in_path("Label", "/{id}");
    let routes = Router::new().route("/{id}", get(async || {}).layer(guard));
    assert_eq!(ask(&routes, "/acme-1", &["clerk"]).await, answer(200, ""));
    assert_eq!(ask(&routes, "/globex-1", &["clerk"]).await, answer(403, "forbidden"));
    assert_eq!(*told.lock().unwrap(), [("acme-1".to_owned(), true), ("globex-1".to_owned(), false)]);
}
