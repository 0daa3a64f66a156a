//! What several of these tests need: a product on a database, a database of a test's own, and a look into it.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use halfbyte_billing::{Billing, Catalog, Event, Metered, Per, Period, Settings};
use halfbyte_core::body::Refusable;
use halfbyte_core::config::BillingBackend;
use halfbyte_core::home::Home;
use halfbyte_core::{Clock, Lifecycle, Principal, ProductId, TenantId};
use http::{Request, Response};
use http_body_util::Full;
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _, service_fn};
use uuid::Uuid;

const CATALOGUE: &str = r#"
[products.parcel]
[meters.labels]
product = "parcel"
[meters.rush]
product = "parcel"
[meters.depots]
product = "parcel"
event = "parcel.stored"
aggregation = "unique"
value = "depot"
[features.labels]
product = "parcel"
meter = "labels"
[features.rush]
product = "parcel"
meter = "rush"
[features.maps]
product = "parcel"
fallback = "allow"

[plans.small]
features.labels = { limit = 10, per = "year" }
[plans.large]
features.labels = { limit = 10_000, per = "year" }
[plans.busy]
features.labels = { limit = 200, per = "year" }
features.rush = { limit = 1_000_000_000, per = "year" }
"#;

type Body = Refusable<Refusable<Metered<Full<Bytes>>>>;
pub type App = BoxCloneSyncService<Request<()>, Response<Body>, Infallible>;

/// A product in one process.
pub struct Desk {
    pub billing: Billing,
    pub life: Lifecycle,
}

impl Desk {
    pub async fn open(url: &str, home: &Path) -> Self {
        Self::with_lease(url, home, Duration::from_secs(60)).await
    }

    /// With a short lease, what the killed had is to be had again within a test.
    pub async fn with_lease(url: &str, home: &Path, lease: Duration) -> Self {
        let life = Lifecycle::new(Clock::system());
        let home = Home::open(home).expect("a home");
        let product = ProductId::new("parcel").expect("valid");
        let catalog = Catalog::parse("catalogue.toml", CATALOGUE).expect("it is good");
        let backend = BillingBackend::Postgres(url.to_owned().into());
        let settings = Settings::new(&backend, &home, product, catalog).lease(lease);
        Self { billing: Billing::open(settings, &life).await.expect("it opens"), life }
    }

    pub async fn subscribe(&self, name: &str, plan: &str) {
        let customers = self.billing.customers();
        customers.create(&tenant(name)).await.expect("made");
        customers.subscribe(&tenant(name), plan).await.expect("subscribed");
    }

    /// The layers around a handler that answers well.
    pub fn app(&self, feature: &str) -> App {
        let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::default())));
        let entitle = self.billing.entitle(feature).expect("the feature is there");
        BoxCloneSyncService::new(entitle.layer(self.billing.meter().layer(handler)))
    }

    /// What a request for a label is answered.
    pub async fn status(&self, name: &str, key: &str) -> u16 {
        self.app("labels").oneshot(keyed(name, key)).await.expect("infallible").status().as_u16()
    }

    /// The labels of this year.
    pub async fn used(&self, name: &str) -> u64 {
        let period = Period::containing(self.life.clock().now(), Per::Year);
        let used = self.billing.usage(&tenant(name), "labels", period).await.expect("it answers");
        u64::try_from(used).expect("whole and not negative")
    }

    /// Commits all, and gives all back, as often as the store makes it necessary.
    pub async fn settle(&self) {
        let settled = async {
            while self.billing.flush(Duration::from_secs(20)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), settled).await.expect("it is committed in the end");
    }

    /// Waits until nothing is in the journal that is not in the store.
    pub async fn caught_up(&self, patience: Duration) {
        let caught_up = async {
            while self.billing.stats().backlog > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(patience, caught_up).await.expect("it is counted");
    }

    /// Uses up what is left of the labels of `name`; answers how many those were.
    pub async fn use_up(&self, name: &str) -> u64 {
        let mut used = 0;
        loop {
            match self.status(name, &format!("rest-{used}")).await {
                200 => used += 1,
                // Where the store was away for a moment, it is asked again.
                503 => tokio::time::sleep(Duration::from_millis(20)).await,
                429 => return used,
                other => panic!("answered {other}"),
            }
        }
    }

    /// Ends as a process does that drains.
    pub async fn stop(self) {
        self.billing.flush(Duration::from_secs(10)).await.expect("flushed");
        assert!(self.life.stop_tasks(Duration::from_secs(10)).await, "the committer ends");
    }
}

pub fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("valid")
}

/// A request of a tenant, signed in, with an idempotency key.
pub fn keyed(name: &str, key: &str) -> Request<()> {
    let mut request = Request::builder().header("idempotency-key", key).body(()).expect("a request");
    request.extensions_mut().insert(Principal::builder("someone", tenant(name), Timestamp::MAX).build());
    request
}

/// An event of the type that the meter "labels" counts.
pub fn labels(id: &str, subject: &str, time: Timestamp, units: u64) -> Event {
    let event = Event::new("/warehouse", id, "parcel.labels", subject, time).expect("an event");
    event.data(serde_json::json!({ "units": units })).expect("data")
}

/// A database of a test's own on the server that all share.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    pub async fn create() -> Self {
        let server = crate::server("HB_TEST_POSTGRES_URL");
        let name = format!("billing_{}", Uuid::now_v7().simple());
        run(&server, &format!("CREATE DATABASE {name}")).await;
        Self { server, name }
    }

    pub fn url(&self) -> String {
        let (address, _) = self.server.rsplit_once('/').expect("the name of a database");
        format!("{address}/{}", self.name)
    }

    /// Runs statements past billing.
    pub async fn run(&self, sql: &str) {
        run(&self.url(), sql).await;
    }

    /// A session past billing in which a transaction is open that has run `sql`.
    pub async fn hold(&self, sql: &str) -> PgConnection {
        let mut connection = look(&self.url()).await;
        let sql = format!("BEGIN; {sql}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("it runs");
        connection
    }

    /// One number out of it.
    pub async fn number(&self, sql: &str) -> i64 {
        let mut connection = look(&self.url()).await;
        let found = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.expect("queried");
        connection.close().await.expect("closed");
        found.get(0)
    }

    /// A text and a number out of each row.
    pub async fn pairs(&self, sql: &'static str) -> Vec<(String, u64)> {
        let mut connection = look(&self.url()).await;
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.expect("queried");
        rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<i64, _>(1)).expect("not negative"))).collect()
    }

    /// Nobody holds anything, and what the lots say was burned is what was counted.
    pub async fn is_settled_at(&self, units: u64) {
        let units = i64::try_from(units).expect("small");
        for (query, expected) in [
            ("SELECT CAST(coalesce(sum(units), 0) AS BIGINT) FROM holds", 0),
            ("SELECT CAST(sum(held) AS BIGINT) FROM lots", 0),
            ("SELECT CAST(sum(burned) AS BIGINT) FROM lots", units),
            ("SELECT CAST(sum(sum) AS BIGINT) FROM aggregates", units),
            ("SELECT CAST(sum(units) AS BIGINT) FROM burns", units),
        ] {
            assert_eq!(self.number(query).await, expected, "{query}");
        }
    }

    /// Where a test failed it stays for a look.
    pub async fn remove(self) {
        run(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

async fn look(url: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.expect("connected");
    sqlx::raw_sql("SET search_path = halfbyte_billing, public").execute(&mut connection).await.expect("set");
    connection
}

async fn run(url: &str, sql: &str) {
    let mut connection = look(url).await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("it runs");
    connection.close().await.expect("closed");
}
