//! Events that a NATS server finds too large.

use std::time::{Duration, Instant};

use halfbyte_billing::Event;
use halfbyte_billing::export::async_nats::jetstream;
use halfbyte_billing::export::{Destination as _, Export, ExportState, Exported, Exporter, NatsDestination, SendError};

use crate::nats::{Fixture, connect, event, events, ids};
use crate::nats_server::NatsServer;
use crate::support::{Database, Desk};

const SMALL: &str = "max_payload: 2000";

fn large() -> String {
    format!(r#"{{"units":1,"blob":"{}"}}"#, "x".repeat(3000))
}

/// Six events, of which the fourth is over the limit.
fn batch() -> Vec<Exported> {
    let mut events = events(0..6);
    events[3] = event(3, "com.example.request", &large());
    events
}

async fn until(exporter: &Exporter, state: ExportState) {
    let began = Instant::now();
    while exporter.stats().state != state {
        assert!(began.elapsed() < Duration::from_secs(20), "not {state:?}: {:?}", exporter.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// With a connection of its own, which gives up soon.
async fn destination(nats: &Fixture, server: &NatsServer) -> NatsDestination {
    let mut context = jetstream::new(connect(&server.url()).await);
    context.set_timeout(Duration::from_millis(300));
    NatsDestination::new(context, &nats.prefix).expect("a prefix")
}

/// Sends as an export does that halves what is refused, until one alone is; answers how many are safe, and why the next is not.
async fn send(destination: &NatsDestination, events: &[Exported]) -> (usize, Option<SendError>) {
    let (mut safe, mut take, mut tries) = (0, events.len(), 0);
    while safe < events.len() {
        let end = events.len().min(safe + take);
        match destination.send(&events[safe..end]).await {
            Ok(sent) => (safe, take) = (safe + sent, events.len()),
            Err(error) if error.is_permanent() && end == safe + 1 => return (safe, Some(error)),
            Err(error) if error.is_permanent() => take = (end - safe) / 2,
            Err(error) => {
                tries += 1;
                assert!(tries < 20, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    (safe, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_server_finds_too_large_is_told_and_comes_when_the_limit_is_raised() {
    let server = NatsServer::start(SMALL);
    let nats = Fixture::on(&server.url(), |_| ()).await;
    let (database, folder) = (Database::create().await, tempfile::tempdir().expect("a folder"));
    let desk = Desk::open(&database.url(), &folder.path().join("home")).await;
    desk.subscribe("acme", "large").await;
    let export = Export::new("nats", nats.destination()).expect("a name");
    let exporter = desk.billing.export(export);
    let (now, large) = (desk.life.clock().now(), large());
    for id in 0..6 {
        let event = Event::new("/shop", &id.to_string(), "parcel.labels", "acme", now).expect("an event");
        let event = event.raw_data(if id == 3 { &large } else { r#"{"units":1}"# }).expect("data");
        desk.billing.ingest(event).await.expect("taken in");
    }
    until(&exporter, ExportState::Refused).await;
    let problem = exporter.stats().problem.expect("it says why");
    assert!(problem.starts_with(r#"event "3" of "/shop" is refused, and those behind it wait: "#), "{problem}");
    assert!(problem.contains("2000") && problem.ends_with("raise max_payload of the NATS server"), "{problem}");
    assert_eq!(nats.ids().await, ids(0..3));

    server.reload("");
    until(&exporter, ExportState::Current).await;
    assert_eq!(nats.ids().await, ids(0..6));
    assert_eq!(exporter.stats().problem, None);
    desk.stop().await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_lowered_while_the_client_is_connected_is_found_out() {
    let server = NatsServer::start("");
    let nats = Fixture::on(&server.url(), |_| ()).await;
    let destination = destination(&nats, &server).await;
    server.reload(SMALL);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (safe, error) = send(&destination, &batch()).await;
    let error = error.expect("it is refused").to_string();
    assert!(error.ends_with("raise max_payload of the NATS server"), "{error}");
    // What was under way behind it may have come on the next connection.
    assert_eq!((safe, &nats.ids().await[..3]), (3, &ids(0..3)[..]));
}

/// What is over the limit of its account a client is not told: the server ends the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large_for_the_account_is_told_and_those_before_it_are_safe() {
    let account = |limit: u32| {
        let account =
            format!("jetstream: enabled, limits {{ max_payload: {limit} }}, users: [{{ user: a, password: a }}]");
        format!("accounts {{ A {{ {account} }} }}\nno_auth_user: a")
    };
    let mut server = NatsServer::start(&account(2000));
    let nats = Fixture::on(&server.url(), |_| ()).await;
    let destination = destination(&nats, &server).await;
    let (mut safe, mut breaks) = (0, 0);
    while safe < 3 {
        match destination.send(&batch()[safe..]).await {
            // It is a race how many are acknowledged before the connection ends.
            Ok(sent) => safe += sent,
            Err(error) => breaks += u32::from(error.to_string().starts_with("the connection broke")),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(breaks <= 1, "after one break those before it are sent one by one: {breaks}");
    let (more, error) = send(&destination, &batch()[3..]).await;
    assert_eq!(more, 0);
    let error = error.expect("it is refused").to_string();
    assert!(error.starts_with("the connection broke") && error.contains("raise max_payload of the account"), "{error}");
    assert_eq!((safe, &nats.ids().await[..3]), (3, &ids(0..3)[..]));

    server.restart(&account(5000));
    let (safe, error) = send(&destination, &batch()[3..]).await;
    assert_eq!((safe, error), (3, None));
    let mut stored = nats.ids().await;
    stored.sort_unstable();
    assert_eq!(stored, ids(0..6));
}
