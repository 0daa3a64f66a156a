//! Customers who ask both products for things, so many a second whatever the answers are.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::Outcome;
use crate::answer::{Answer, DEADLINE, SLACK};

/// The two products; the number of each is its place in arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

/// So many requests may wait for their answers, to each product; while there are more, none is sent. The products take more
/// than that, and a machine that is too weak for the load does not come to a stop.
const WAITING: usize = 800;

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
    pub sent: Instant,
    pub took: Duration,
    pub answer: Answer,
}

/// A customer's program: its tenant, and its token for each product.
#[derive(Clone, Debug)]
pub struct Customer {
    pub tenant: Arc<str>,
    pub tokens: [Arc<str>; 2],
}

/// Asks the products, and numbers what it asks.
#[derive(Clone)]
pub struct Asker {
    http: reqwest::Client,
    urls: [String; 2],
    /// The first half of the name of every trace.
    pub run: u64,
    next: Arc<AtomicU64>,
}

impl Asker {
    pub fn new(urls: [String; 2], run: u64) -> Outcome<Self> {
        // Longer than any answer may take, so that who is late is known to be.
        let http = reqwest::Client::builder().timeout(DEADLINE + SLACK * 2).build()?;
        Ok(Self { http, urls, run, next: Arc::new(AtomicU64::new(1)) })
    }

    /// The products are elsewhere from now on.
    pub fn moved(&mut self, urls: [String; 2]) {
        self.urls = urls;
    }

    /// One request under `key`.
    pub async fn ask(&self, product: Product, customer: &Customer, key: String, has_kit: bool) -> Record {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let body = match product {
            Product::Parcel => json!({ "to": "1 Main Street" }),
            Product::Clinic => json!({ "patient": "Ann", "at": "2030-01-01T09:00", "home_kit": has_kit }),
        };
        let request = self
            .http
            .post(&self.urls[product as usize])
            .bearer_auth(&customer.tokens[product as usize])
            .header("content-type", "application/json")
            .header("idempotency-key", &key)
            .header("traceparent", format!("00-{:016x}{number:016x}-{number:016x}-01", self.run))
            .body(body.to_string());
        let sent = Instant::now();
        let answer = match request.send().await {
            Ok(response) => {
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                match response.bytes().await {
                    Ok(body) => Answer::read(status, &headers, &body),
                    Err(error) => Answer::Broken(format!("an answer that breaks off: {}", kind_of(&error))),
                }
            }
            Err(error) => Answer::Broken(format!("no answer: {}", kind_of(&error))),
        };
        let tenant = customer.tenant.clone();
        Record { number, product, tenant, key, has_kit, sent, took: sent.elapsed(), answer }
    }
}

/// The same words for the same thing, whichever address it was.
fn kind_of(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    source.to_string()
}

/// Requests that go on until they are stopped.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
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
    pub async fn stop(mut self) -> Vec<Record> {
        self.shared.stop.store(true, Ordering::SeqCst);
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut self.shared.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    async fn go_on(self: Arc<Self>, product: Product) {
        let mut beat = interval(self.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut asked = JoinSet::new();
        let (mut number, mut first) = (0, 1);
        while !self.stop.load(Ordering::SeqCst) {
            beat.tick().await;
            while asked.try_join_next().is_some() {}
            if self.pauses[product as usize].load(Ordering::SeqCst) {
                // What was made under a key before, the product does not remember: it keeps its things in memory.
                first = number + 1;
                continue;
            }
            if asked.len() >= WAITING {
                continue;
            }
            number += 1;
            asked.spawn(self.clone().ask(product, number, first));
        }
        while asked.join_next().await.is_some() {}
    }

    async fn ask(self: Arc<Self>, product: Product, number: u64, first: u64) {
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
        let record = asker.ask(product, &customer, key, has_kit).await;
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
            let record = asker.ask(record.product, customer, record.key.clone(), record.has_kit).await;
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
        let (tenant, key, sent) = (tenant.into(), key.to_owned(), Instant::now());
        Record { number: 1, product, tenant, key, has_kit: false, sent, took: Duration::ZERO, answer }
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
