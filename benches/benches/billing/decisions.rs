//! Decisions and layers: what every request pays.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use halfbyte::billing::Decision;
use halfbyte::core::config::BillingBackend;
use halfbyte::core::{Principal, TenantId};
use halfbyte_benches::{count, median, ratio, side_by_side_of};
use http::{Request, Response};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use stats_alloc::Region;
use tokio::runtime::Runtime;
use tower::{Layer as _, Service as _, service_fn};

use crate::ingestion::event;
use crate::{ALLOCATOR, Outcome, open, tenant};

const ROUNDS: usize = 60;
const BATCH: u32 = 500;
const MANY: usize = 100_000;

pub fn run(runtime: &Runtime) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (billing, life) = runtime.block_on(open(&BillingBackend::Sqlite(None), folder.path(), 10))?;
    let few = billing.gate("labels")?;
    let layers = billing.entitle("labels")?.layer(billing.meter().layer(service_fn(empty)));

    let crowd = tempfile::tempdir()?;
    let (crowded, crowded_life) = runtime.block_on(open(&BillingBackend::Sqlite(None), crowd.path(), 10))?;
    runtime.block_on(subscribe_many(&crowd.path().join("home/billing/billing.sqlite")))?;
    while crowded.check(&tenant(MANY - 1), "labels") == Decision::NotEntitled {
        thread::sleep(Duration::from_millis(100));
    }
    let many = crowded.gate("labels")?;

    // Tenants in an order that no cache foresees, the same for both.
    let order = |among: usize| {
        let mut state = 88_172_645_463_325_252_u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            tenant(usize::try_from(state % among as u64).unwrap_or(0))
        }
    };
    for number in 0..MANY {
        assert!(many.check(&tenant(number)).is_allowed());
    }
    let check = |gate: &halfbyte::billing::Gate, tenant: TenantId| {
        assert!(gate.check(black_box(&tenant)).is_allowed());
        tenant
    };
    let pair = side_by_side_of(
        ROUNDS,
        BATCH,
        (order(10), |tenant| check(&many, tenant)),
        (order(10), |tenant| check(&few, tenant)),
    );
    count("billing.decision.nanoseconds", pair.theirs.as_nanos());
    ratio("billing.decision.100000.vs.10", pair);
    // Every tenant as often as every other: what is added are the misses of the processor's caches.
    let pair = side_by_side_of(
        ROUNDS,
        BATCH,
        (order(MANY), |tenant| check(&many, tenant)),
        (order(10), |tenant| check(&few, tenant)),
    );
    ratio("billing.decision.100000_evenly.vs.10", pair);
    let acme = tenant(3);
    count("billing.decision.allocations", allocations(|| few.check(&acme)));
    count("billing.decision.p99_nanoseconds", p99_while_ingesting(runtime, &billing, || few.check(&acme).is_allowed()));

    // A tranche for each, so that what is measured is what nearly every request finds.
    for number in 0..10 {
        assert_eq!(runtime.block_on(layers.clone().call(request(&tenant(number))))?.status(), 200);
    }
    let mut layers = layers;
    let (mut bare, mut number) = (service_fn(empty), 0);
    let mut next = || {
        number = (number + 1) % 10;
        request(&tenant(number))
    };
    let mut next_bare = || request(&tenant(0));
    let pair = side_by_side_of(
        ROUNDS,
        BATCH,
        (&mut next, |request| layers.call(request).now_or_never().expect("it does not wait")),
        (&mut next_bare, |request| bare.call(request).now_or_never().expect("it does not wait")),
    );
    count("billing.layers.nanoseconds", pair.ours.saturating_sub(pair.theirs).as_nanos());
    let used = {
        let mut requests: Vec<_> = (0..1_001).map(|_| request(&tenant(1))).collect();
        allocations(|| layers.call(requests.pop().expect("enough")).now_or_never())
    };
    let bare_used = {
        let mut requests: Vec<_> = (0..1_001).map(|_| request(&tenant(1))).collect();
        allocations(|| bare.call(requests.pop().expect("enough")).now_or_never())
    };
    count("billing.layers.allocations", used.saturating_sub(bare_used));

    drop((layers, few, many));
    runtime.block_on(async {
        for (billing, life) in [(billing, life), (crowded, crowded_life)] {
            billing.flush(Duration::from_secs(30)).await?;
            life.stop_tasks(Duration::from_secs(30)).await;
        }
        Ok::<_, halfbyte::billing::Error>(())
    })?;
    Ok(())
}

fn empty(_: Request<()>) -> Ready<Result<Response<http_body_util::Empty<&'static [u8]>>, Infallible>> {
    ready(Ok(Response::new(http_body_util::Empty::new())))
}

fn request(tenant: &TenantId) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Principal::builder("someone", tenant.clone(), jiff::Timestamp::MAX).build());
    request
}

/// Makes customers past the back office, which waits for the disk for each.
async fn subscribe_many(file: &Path) -> Outcome {
    let mut database = SqliteConnectOptions::new().filename(file).connect().await?;
    let insert = format!(
        "WITH RECURSIVE numbers (number) AS (SELECT 10 UNION ALL SELECT number + 1 FROM numbers WHERE number < {MANY} - 1)
         INSERT INTO accounts (tenant, revision, document)
         SELECT 'tenant-' || number, (SELECT revision + 1 FROM state),
             replace((SELECT document FROM accounts WHERE tenant = 'tenant-0'), 'tenant-0', 'tenant-' || number)
         FROM numbers"
    );
    for statement in [insert, "UPDATE state SET revision = revision + 1".to_owned()] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await?;
    }
    Ok(())
}

/// The median of the allocations of one operation: what others do in between now and then does not count.
fn allocations<T>(mut operation: impl FnMut() -> T) -> usize {
    let one = |_| {
        let region = Region::new(ALLOCATOR);
        black_box(operation());
        region.change().allocations
    };
    median((0..1_001).map(one).collect())
}

/// The 99th percentile of `decide` while another thread ingests as fast as it can.
fn p99_while_ingesting(runtime: &Runtime, billing: &halfbyte::billing::Billing, decide: impl Fn() -> bool) -> u128 {
    let going = AtomicBool::new(true);
    let handle = runtime.handle().clone();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u64.. {
                if !going.load(Ordering::Relaxed) {
                    break;
                }
                _ = handle.block_on(billing.ingest(event("decisions", number)));
            }
        });
        let mut times: Vec<_> = (0..200_000)
            .map(|_| {
                let began = Instant::now();
                assert!(decide());
                began.elapsed().as_nanos()
            })
            .collect();
        going.store(false, Ordering::Relaxed);
        times.sort_unstable();
        times[times.len() * 99 / 100]
    })
}
