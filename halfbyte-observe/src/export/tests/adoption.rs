//! What processes leave behind that end while this one runs: found within a minute, and within the cap.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::SignalStats;
use crate::export::backlog::Backlog;
use crate::export::driver::{Driver, Order, Report};
use crate::export::queue::{Books as _, Limits, Queue};
use crate::export::transport::Transport;
use crate::spool::Batch;

/// For ten [batches](batch), each of which is a segment of its own.
const CAP: u64 = 10 * 4096;

/// Batch `number`, of so many items.
fn batch(number: u8) -> Batch {
    Batch { items: u64::from(number), payload: Bytes::from(vec![number; 3000]) }
}

/// The driver of one signal on the paused clock of a test. Nobody listens where it sends to.
struct Driven {
    queue: Arc<Queue<Batch>>,
    orders: mpsc::UnboundedSender<Order>,
    folder: PathBuf,
    begun: Instant,
    running: JoinSet<()>,
    _nobody: TcpSocket,
}

impl Driven {
    fn start(folder: PathBuf) -> Self {
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let endpoint = format!("http://{}", nobody.local_addr().unwrap());
        let config = Config::parse([("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).unwrap();
        let route = Plan::read(&config.other).unwrap().traces.unwrap();
        let queue = Arc::new(Queue::new(Limits { entries: 100, bytes: 1 << 20, batch: 1 }));
        let (orders, taken) = mpsc::unbounded_channel();
        let driver = Driver {
            signal: Signal::Traces,
            address: route.to.shown(),
            queue: queue.clone(),
            encode: Box::new(|batches| batches),
            gather: None,
            // Nothing else wakes it.
            delay: Duration::from_secs(86_400),
            backlog: Backlog::on_disk(&folder, CAP).unwrap(),
            transport: Transport::new(Signal::Traces, &route.to).unwrap(),
            orders: taken,
            alarm: Arc::default(),
        };
        let mut running = JoinSet::new();
        running.spawn(driver.run());
        Self { queue, orders, folder, begun: Instant::now(), running, _nobody: nobody }
    }

    /// The books, so many seconds after the start.
    async fn stats_at(&self, seconds: u64) -> SignalStats {
        sleep_until(self.begun + Duration::from_secs(seconds)).await;
        let stats = self.queue.stats();
        assert!(stats.is_balanced(), "{stats:?}");
        stats
    }

    /// What another process leaves when it ends.
    fn leave(&self, numbers: std::ops::RangeInclusive<u8>) {
        let mut other = Backlog::on_disk(&self.folder, CAP).unwrap();
        assert_eq!(numbers.map(|number| other.push(batch(number))).sum::<u64>(), 0);
        assert!(other.is_safe());
    }

    async fn end(mut self) -> (Report, SignalStats) {
        let (reply, report) = oneshot::channel();
        let until = std::time::Instant::now() + LONG;
        assert!(self.orders.send(Order { until, last: true, provider: None, reply }).is_ok());
        let report = report.await.unwrap();
        self.running.join_next().await.unwrap().unwrap();
        (report, self.queue.stats())
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_looked_once_a_minute_for_what_others_have_left() {
    let home = tempfile::tempdir().unwrap();
    let driven = Driven::start(home.path().join("traces"));
    driven.stats_at(1).await;
    driven.leave(1..=3);
    assert_eq!(driven.stats_at(59).await.recovered, 0);
    let stats = driven.stats_at(61).await;
    assert_eq!((stats.recovered, stats.spooled), (6, 6), "{stats:?}");
    driven.leave(4..=4);
    assert_eq!(driven.stats_at(119).await.recovered, 6);
    let stats = driven.stats_at(121).await;
    assert_eq!((stats.recovered, stats.spooled), (10, 10), "{stats:?}");
    assert_eq!((stats.created, stats.exported, stats.dropped.total()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_cap_then_goes_oldest_first_and_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let driven = Driven::start(home.path().join("traces"));
    (11..=16).for_each(|number| driven.queue.push(batch(number), number.into(), 1));
    let own = driven.stats_at(1).await;
    assert_eq!((own.created, own.spooled), (81, 81), "the collector is away: {own:?}");
    driven.leave(1..=7);
    let stats = driven.stats_at(61).await;
    // The one that is tried again and again stays in memory; 1 and 2 are the oldest besides.
    assert_eq!((stats.recovered, stats.dropped.backlog_full, stats.spooled), (28, 1 + 2, 81 + 28 - 3), "{stats:?}");

    let folder = driven.folder.clone();
    let (report, stats) = driven.end().await;
    // The file of it is gone, so it ends with the process.
    assert_eq!((stats.dropped.backlog_full, stats.spooled), (1 + 2 + 11, 95), "{stats:?}");
    assert!(stats.is_balanced() && stats.dropped.total() == 14, "{stats:?}");
    assert_eq!((report.on_disk, report.unsent), (95, 95 + 11), "{report:?}");
    let mut next = Backlog::on_disk(&folder, CAP).unwrap();
    assert_eq!((next.items(), next.take_corrupt()), (95, 0));
    let mut left = super::backlog::drained(&mut next);
    left.sort_unstable();
    assert_eq!(left, [3, 4, 5, 6, 7, 12, 13, 14, 15, 16]);
}
