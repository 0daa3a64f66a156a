//! Customers who ask both products for things, so many a second whatever the answers are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Outcome;
use crate::answer::{Answer, DEADLINE, SLACK};
use crate::client::Client;
use crate::pace::{Offered, Pace};

/// The two products; the number of each is its place in arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    Parcel,
    Clinic,
}

impl Product {
    pub const ALL: [Self; 2] = [Self::Parcel, Self::Clinic];

    pub fn name(self) -> &'static str {
        match self {
            Self::Parcel => "parcel",
            Self::Clinic => "clinic",
        }
    }

    /// Where it is asked for things.
    fn path(self) -> &'static str {
        match self {
            Self::Parcel => "/labels",
            Self::Clinic => "/appointments",
        }
    }
}

/// So many requests may wait for their answers, to each product; while there are more, none is sent, and what was due then counts
/// as not offered. Five seconds' worth: a machine that is too weak for the load does not come to a stop.
const WAITING: usize = 1_000;
/// How long nothing is asked of a product that is started again, until it is looked at whether it is there.
const PAUSE: Duration = Duration::from_millis(5);

/// One request and what came of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number among all requests; its trace is called after it.
    pub number: u64,
    pub product: Product,
    pub tenant: Arc<str>,
    pub key: String,
    /// Clinic orders a label for it.
    pub has_kit: bool,
    /// When it was to be sent.
    pub due: Instant,
    pub sent: Instant,
    /// From when it was due, so that one which had to wait for others is not said to be fast.
    pub took: Duration,
    pub answer: Answer,
}

impl Record {
    /// When its answer was there.
    pub fn answered(&self) -> Instant {
        self.due + self.took
    }
}

/// A customer's program: its tenant, and its token for each product.
#[derive(Clone, Debug)]
pub struct Customer {
    pub tenant: Arc<str>,
    pub tokens: [Arc<str>; 2],
}

impl Customer {
    /// How many seconds from now its tokens were issued, by what they say.
    pub fn issued(&self) -> Outcome<i64> {
        let claims = self.tokens[0].split('.').nth(1).ok_or("a token that is no JWT")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
        let issued = claims["iat"].as_i64().ok_or("a token that does not say when it was issued")?;
        Ok(issued - i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
    }
}

/// Asks the products, and numbers what it asks.
#[derive(Clone)]
pub struct Asker {
    clients: [Arc<Client>; 2],
    /// The first half of the name of every trace.
    pub run: u64,
    next: Arc<AtomicU64>,
}

impl Asker {
    pub fn new(addresses: [SocketAddr; 2], run: u64) -> Self {
        Self { clients: clients(addresses), run, next: Arc::new(AtomicU64::new(1)) }
    }

    /// The products are elsewhere from now on.
    pub fn moved(&mut self, addresses: [SocketAddr; 2]) {
        self.clients = clients(addresses);
    }

    /// One request under `key`, which is `due` now or was before.
    pub async fn ask(&self, product: Product, customer: &Customer, key: String, has_kit: bool, due: Instant) -> Record {
        // Longer than any answer may take, so that who is late is known to be.
        const WITHIN: Duration = Duration::from_secs(DEADLINE.as_secs() + 2 * SLACK.as_secs());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let body = match (product, has_kit) {
            (Product::Parcel, _) => r#"{"to":"1 Main Street"}"#,
            (Product::Clinic, true) => r#"{"patient":"Ann","at":"2030-01-01T09:00","home_kit":true}"#,
            (Product::Clinic, false) => r#"{"patient":"Ann","at":"2030-01-01T09:00","home_kit":false}"#,
        };
        let headers = format!(
            "authorization: Bearer {}\r\nidempotency-key: {key}\r\ntraceparent: 00-{:016x}{number:016x}-{number:016x}-01\r\n",
            customer.tokens[product as usize], self.run
        );
        let sent = Instant::now();
        let answer = match self.clients[product as usize].post(product.path(), &headers, body, WITHIN).await {
            Ok(response) => Answer::read(response.status, &response.headers, &response.body),
            Err(error) => Answer::Broken(format!("no answer: {error}")),
        };
        let tenant = customer.tenant.clone();
        Record { number, product, tenant, key, has_kit, due, sent, took: due.elapsed(), answer }
    }
}

fn clients(addresses: [SocketAddr; 2]) -> [Arc<Client>; 2] {
    addresses.map(|address| Arc::new(Client::new(address)))
}

/// Requests that go on until they are stopped.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<(u64, Duration)>,
}

struct Shared {
    asker: Mutex<Asker>,
    /// What keys begin with.
    name: String,
    known: Customer,
    newcomer: Mutex<Option<Customer>>,
    pauses: [AtomicBool; 2],
    stop: AtomicBool,
    /// The time between two requests to a product.
    beat: Duration,
    records: Mutex<Vec<Record>>,
}

impl Load {
    /// Begins to ask each product `rate` times a second, as `known`; and as one in ten, once there is one, as a customer whom they do not know yet.
    pub fn start(asker: &Asker, name: &str, known: &Customer, rate: u32) -> Self {
        let shared = Arc::new(Shared {
            asker: Mutex::new(asker.clone()),
            name: name.to_owned(),
            known: known.clone(),
            newcomer: Mutex::default(),
            pauses: Default::default(),
            stop: AtomicBool::new(false),
            beat: Duration::from_secs(1) / rate,
            records: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for product in Product::ALL {
            tasks.spawn(shared.clone().go_on(product));
        }
        Self { shared, tasks }
    }

    /// From now on one in ten requests is this customer's.
    pub fn newcomer(&self, customer: Customer) {
        *self.shared.newcomer.lock().unwrap_or_else(PoisonError::into_inner) = Some(customer);
    }

    /// The products are elsewhere from now on.
    pub fn moved(&self, asker: &Asker) {
        *self.shared.asker.lock().unwrap_or_else(PoisonError::into_inner) = asker.clone();
    }

    /// Asks a product nothing while it is started again.
    pub fn pause(&self, product: Product, is_paused: bool) {
        self.shared.pauses[product as usize].store(is_paused, Ordering::SeqCst);
    }

    /// What has been answered so far.
    pub fn look<T>(&self, at: impl FnOnce(&[Record]) -> T) -> T {
        at(&self.shared.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops to ask, and waits for the answers that are still to come.
    pub async fn stop(mut self) -> (Vec<Record>, Offered) {
        let end = Instant::now();
        self.shared.stop.store(true, Ordering::SeqCst);
        let (mut due, mut time) = (0, Duration::ZERO);
        while let Some(asked) = self.tasks.join_next().await {
            let (more, longer) = asked.unwrap_or_default();
            (due, time) = (due + more, time + longer);
        }
        let records = std::mem::take(&mut *self.shared.records.lock().unwrap_or_else(PoisonError::into_inner));
        let offered = Offered::new(due, time, &records, end);
        (records, offered)
    }
}

impl Shared {
    /// Asks until it is to stop; answers how many requests were due, and for how long.
    async fn go_on(self: Arc<Self>, product: Product) -> (u64, Duration) {
        let mut pace = Pace::new(Instant::now(), self.beat);
        let mut asked = JoinSet::new();
        let (mut number, mut first) = (0, 1);
        while !self.stop.load(Ordering::SeqCst) {
            while asked.try_join_next().is_some() {}
            if self.pauses[product as usize].load(Ordering::SeqCst) {
                // What was made under a key before, the product does not remember: it keeps its things in memory.
                first = number + 1;
                sleep(PAUSE).await;
                pace.resume(Instant::now());
                continue;
            }
            let due = pace.due();
            sleep_until(due).await;
            number += 1;
            if asked.len() < WAITING {
                asked.spawn(self.clone().ask(product, number, first, due));
            }
        }
        let due = number + pace.missed(Instant::now());
        while asked.join_next().await.is_some() {}
        (due, self.beat * u32::try_from(due).unwrap_or(u32::MAX))
    }

    async fn ask(self: Arc<Self>, product: Product, number: u64, first: u64, due: Instant) {
        let newcomer = self.newcomer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (customer, who) = match newcomer {
            Some(newcomer) if number % 10 == 3 => (newcomer, "new"),
            _ => (self.known.clone(), "known"),
        };
        // One in ten is sent again under its key, as clients do that are not sure.
        let of = if number % 10 == 7 && number >= first + 8 { number - 8 } else { number };
        let has_kit = product == Product::Clinic && of % 10 >= 8;
        let key = format!("{}-{}-{who}-{of}", self.name, product.name());
        let asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let record = asker.ask(product, &customer, key, has_kit, due).await;
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

/// The keys under which a tenant was given labels: what it must have been counted, each once.
pub fn labels_made(records: &[Record], tenant: &str) -> BTreeSet<String> {
    let made = |record: &&Record| {
        record.product == Product::Parcel && record.answer == Answer::Good && *record.tenant == *tenant
    };
    records.iter().filter(made).map(|record| record.key.clone()).collect()
}

/// Asks again for what was refused, under the same keys, as a good client does; answers the last word on each.
pub async fn ask_again(asker: &Asker, refused: &[Record], customers: &[Customer], within: Duration) -> Vec<Record> {
    let begun = Instant::now();
    let mut again = Vec::new();
    for record in refused {
        let Some(customer) = customers.iter().find(|customer| customer.tenant == record.tenant) else { continue };
        loop {
            let now = Instant::now();
            let record = asker.ask(record.product, customer, record.key.clone(), record.has_kit, now).await;
            let is_good = record.answer == Answer::Good;
            again.push(record);
            if is_good || begun.elapsed() > within {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(product: Product, tenant: &str, key: &str, answer: Answer) -> Record {
        let (tenant, key, now) = (tenant.into(), key.to_owned(), Instant::now());
        Record { number: 1, product, tenant, key, has_kit: false, due: now, sent: now, took: Duration::ZERO, answer }
    }

    #[test]
    fn labels_count_once_a_key_and_only_for_who_was_given_them() {
        use Product::{Clinic, Parcel};
        let records = [
            record(Parcel, "acme", "a", Answer::Good),
            record(Parcel, "acme", "a", Answer::Good),
            record(Parcel, "acme", "b", Answer::Refused("unavailable")),
            record(Parcel, "acme", "c", Answer::Broken("no answer".to_owned())),
            record(Parcel, "globex", "d", Answer::Good),
            record(Clinic, "acme", "e", Answer::Good),
        ];
        assert_eq!(labels_made(&records, "acme"), ["a".to_owned()].into());
    }
}
