//! A product with one metered and one boolean feature, in a folder of its own.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use halfbyte_billing::{Billing, Catalog, Error, Per, Period};
use halfbyte_core::body::Refusable;
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, Principal, ProductId, TenantId};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use tempfile::TempDir;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _, service_fn};

pub const CATALOGUE: &str = r#"
[products.parcel]
[products.clinic]
[meters.labels]
product = "parcel"
unit = "label"
[features.labels]
product = "parcel"
meter = "labels"
[features.rush]
product = "parcel"
meter = "labels"
[features.tracking]
product = "parcel"
[features.booking]
product = "clinic"

[plans.starter]
features.labels = { limit = 3, per = "month" }
features.rush = { limit = 2, per = "month" }
[plans.daily]
features.labels = { limit = 3, per = "day" }
[plans.pro]
features.labels = { limit = 500, per = "month" }
features.tracking = true
[plans.endless]
features.labels = { limit = 1_000_000_000, per = "month" }
features.rush = { limit = 1_000_000_000, per = "month" }
"#;

pub type Body = Refusable<Refusable<Full<Bytes>>>;
pub type App = BoxCloneSyncService<Request<()>, Response<Body>, Infallible>;

pub fn catalog() -> Catalog {
    Catalog::parse("catalogue.toml", CATALOGUE).expect("it is good")
}

pub fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("valid")
}

/// A product in one process.
pub struct Desk {
    pub billing: Billing,
    pub life: Lifecycle,
}

impl Desk {
    pub async fn open(home: &Path) -> Self {
        Self::try_open(home, Clock::system()).await.expect("it opens")
    }

    pub async fn try_open(home: &Path, clock: Clock) -> Result<Self, Error> {
        let life = Lifecycle::new(clock);
        let home = Home::open(home).expect("a home");
        let product = ProductId::new("parcel").expect("valid");
        let billing = Billing::open(&BillingBackend::Sqlite(None), &home, product, catalog(), &life).await?;
        Ok(Self { billing, life })
    }

    /// With a customer called acme.
    pub async fn with_plan(home: &Path, plan: &str) -> Self {
        let desk = Self::open(home).await;
        desk.subscribe("acme", plan).await;
        desk
    }

    pub async fn subscribe(&self, name: &str, plan: &str) {
        let customers = self.billing.customers();
        customers.create(&tenant(name)).await.expect("made");
        customers.subscribe(&tenant(name), plan).await.expect("subscribed");
    }

    /// The layers around a handler that answers what the request's `x-answer` says.
    pub fn app(&self, feature: &str) -> App {
        let handler = service_fn(async |request: Request<()>| {
            let answer = request
                .headers()
                .get("x-answer")
                .map_or(200, |answer| answer.to_str().expect("text").parse().expect("a status"));
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::from_u16(answer).expect("a status");
            Ok::<_, Infallible>(response)
        });
        let entitle = self.billing.entitle(feature).expect("the feature is there");
        BoxCloneSyncService::new(entitle.layer(self.billing.meter().layer(handler)))
    }

    pub async fn call(&self, feature: &str, request: Request<()>) -> Response<Body> {
        self.app(feature).oneshot(request).await.expect("infallible")
    }

    pub async fn status(&self, feature: &str, request: Request<()>) -> u16 {
        self.call(feature, request).await.status().as_u16()
    }

    /// The labels of this month.
    pub async fn used(&self, name: &str) -> u64 {
        let period = Period::containing(self.life.clock().now(), Per::Month);
        self.billing.usage(&tenant(name), "labels", period).await.expect("it answers")
    }

    /// Ends as a process does that drains.
    pub async fn stop(self) {
        self.billing.flush(Duration::from_secs(5)).await.expect("flushed");
        assert!(self.life.stop_tasks(Duration::from_secs(5)).await, "the committer ends");
    }
}

/// A request of `tenant`, signed in.
pub fn request(name: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Principal::builder("someone", tenant(name), Timestamp::MAX).build());
    request
}

/// The same with an idempotency key.
pub fn keyed(name: &str, key: &str) -> Request<()> {
    let mut request = request(name);
    request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
    request
}

pub fn answering(mut request: Request<()>, status: u16) -> Request<()> {
    request.headers_mut().insert("x-answer", status.into());
    request
}

pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    pub fn database(&self) -> PathBuf {
        self.home().join("billing/billing.sqlite")
    }

    /// The names of what is in the folder of journals, without locks.
    pub fn journals(&self) -> Vec<PathBuf> {
        let folder = self.home().join("billing/journal");
        let entries = std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("listed").path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

/// Opens the database past billing, to look at it or to hold its lock.
pub async fn raw(database: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions as _;
    sqlx::sqlite::SqliteConnectOptions::new().filename(database).connect().await.expect("opened")
}

/// One number out of the database.
pub async fn number(database: &Path, query: &'static str) -> i64 {
    use sqlx::Row as _;
    sqlx::query(query).fetch_one(&mut raw(database).await).await.expect("queried").get(0)
}
