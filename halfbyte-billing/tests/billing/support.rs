//! A product with one metered and one boolean feature, in a folder of its own.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use halfbyte_billing::{
    Billing, Catalog, CatalogSource, Error, Event, Metered, Operation, Per, Period, Receipt, Settings,
};
use halfbyte_core::body::Refusable;
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::lifecycle::Check;
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
[meters.rush]
product = "parcel"
[features.labels]
product = "parcel"
meter = "labels"
[features.rush]
product = "parcel"
meter = "rush"
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
[plans.busy]
features.labels = { limit = 200, per = "month" }
features.rush = { limit = 1_000_000_000, per = "month" }
[plans.endless]
features.labels = { limit = 1_000_000_000, per = "month" }
features.rush = { limit = 1_000_000_000, per = "month" }
"#;

pub type Body = Refusable<Refusable<Metered<Full<Bytes>>>>;
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
        Self::of(home, clock, catalog()).await
    }

    /// With another catalogue, which has the product "parcel".
    pub async fn of(home: &Path, clock: Clock, catalog: impl Into<CatalogSource>) -> Result<Self, Error> {
        let life = Lifecycle::new(clock);
        let home = Home::open(home).expect("a home");
        let product = ProductId::new("parcel").expect("valid");
        let settings = Settings::new(&BillingBackend::Sqlite(None), &home, product, catalog);
        let billing = Billing::open(settings, &life).await?;
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

    pub async fn ingest(&self, event: Event) -> Receipt {
        self.billing.ingest(event).await.expect("it is taken in")
    }

    /// What back offices do.
    pub async fn operate(&self, id: &str, name: &str, operation: Operation) {
        self.billing.customers().operate(id, &tenant(name), operation).await.expect("done");
    }

    /// The labels of this month.
    pub async fn used(&self, name: &str) -> u64 {
        self.used_of(name, "labels").await
    }

    /// What a meter has counted this month.
    pub async fn used_of(&self, name: &str, meter: &str) -> u64 {
        let period = Period::containing(self.life.clock().now(), Per::Month);
        let used = self.billing.usage(&tenant(name), meter, period).await.expect("it answers");
        u64::try_from(used).expect("whole and not negative")
    }

    /// What readiness says of the store.
    pub fn store_check(&self) -> Check {
        self.life.health().report().into_iter().find(|check| &*check.name == "billing.store").expect("it is there")
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

/// `2026-01-31` or `2026-01-31T12:00:00`, in UTC.
pub fn at(text: &str) -> Timestamp {
    let time = if text.contains('T') { "" } else { "T00:00:00" };
    format!("{text}{time}Z").parse().expect("a time")
}

/// Moves a clock of a test to an instant.
pub fn jump_to(clock: &Clock, time: Timestamp) {
    clock.jump(time.duration_since(clock.now()));
}

/// An event of the type that the meter "labels" counts.
pub fn labels(id: &str, subject: &str, time: Timestamp, units: u64) -> Event {
    let event = Event::new("/warehouse", id, "parcel.labels", subject, time).expect("an event");
    event.data(serde_json::json!({ "units": units })).expect("data")
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

    /// Takes the database away, as a disk does that is unmounted.
    pub fn take_database(&self) {
        self.move_database(&self.home().join("billing"), &self.kept());
    }

    pub fn bring_database_back(&self) {
        self.move_database(&self.kept(), &self.home().join("billing"));
    }

    fn kept(&self) -> PathBuf {
        self.0.path().join("kept")
    }

    fn move_database(&self, from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("made");
        for end in ["-shm", "-wal", ""] {
            let name = format!("billing.sqlite{end}");
            // A database that nobody has open has one file.
            if from.join(&name).exists() {
                std::fs::rename(from.join(&name), to.join(&name)).expect("moved");
            }
        }
    }

    /// The names of what is in the folder of journals, without locks.
    pub fn journals(&self) -> Vec<PathBuf> {
        let folder = self.home().join("billing/journal");
        let entries = std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("listed").path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

/// Opens the database past billing, to look at it or to hold its lock.
pub fn raw(database: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(database).expect("opened")
}

/// What is burned and held of each lot of a tenant, by its name.
pub fn lots(database: &Path, name: &str) -> Vec<(String, i64, i64)> {
    let raw = raw(database);
    let query = "SELECT lot, burned, held FROM lots WHERE tenant = ?1 ORDER BY lot";
    let mut query = raw.prepare(query).expect("prepared");
    let rows = query.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("queried");
    rows.collect::<Result<_, _>>().expect("read")
}

/// One number out of the database.
pub fn number(database: &Path, query: &str) -> i64 {
    raw(database).query_row(query, [], |row| row.get(0)).expect("queried")
}
