//! Export to a real NATS server with JetStream.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use halfbyte_billing::Event;
use halfbyte_billing::export::async_nats::jetstream::stream::Config;
use halfbyte_billing::export::async_nats::jetstream::{self, Context};
use halfbyte_billing::export::{Destination as _, Exported, NatsDestination, SendError, async_nats};
use halfbyte_core::{Clock, Lifecycle, TenantId};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// A stream of its own for one test, under a prefix of its own.
pub struct Fixture {
    context: Context,
    pub prefix: String,
}

impl Fixture {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(&crate::server("HB_TEST_NATS_URL"), change).await
    }

    pub async fn on(server: &str, change: impl FnOnce(&mut Config)) -> Self {
        let context = jetstream::new(connect(server).await);
        let name = format!("t{}", Uuid::now_v7().simple());
        let prefix = format!("{name}.usage");
        let mut config = Config { name, subjects: vec![format!("{prefix}.>")], ..Config::default() };
        change(&mut config);
        context.create_stream(config).await.expect("a stream");
        Self { context, prefix }
    }

    pub fn destination(&self) -> NatsDestination {
        NatsDestination::new(self.context.clone(), &self.prefix).expect("a prefix")
    }

    /// The ids of all messages, in the order of the stream.
    pub async fn ids(&self) -> Vec<String> {
        let name = self.prefix.trim_end_matches(".usage");
        let mut stream = self.context.get_stream(name).await.expect("the stream");
        let count = stream.info().await.expect("its state").state.messages;
        let consumer = jetstream::consumer::pull::OrderedConfig::default();
        let consumer = stream.create_consumer(consumer).await.expect("a consumer");
        let messages = consumer.messages().await.expect("messages").take(usize::try_from(count).expect("few"));
        messages
            .map(|message| {
                let body: Value = serde_json::from_slice(&message.expect("a message").payload).expect("JSON");
                body["id"].as_str().expect("an id").to_owned()
            })
            .collect()
            .await
    }
}

pub async fn connect(address: &str) -> async_nats::Client {
    let options = async_nats::ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(5));
    options.connect(address).await.expect("a NATS server")
}

pub fn event(id: usize, kind: &str, data: &str) -> Exported {
    let time = "2030-01-01T00:00:00Z".parse().expect("a time");
    let event = Event::new("/shop", &id.to_string(), kind, "key-1", time).expect("an event");
    let event = event.raw_data(data).expect("an object");
    Exported::new(TenantId::new("acme").expect("an id"), event)
}

pub fn events(range: std::ops::Range<usize>) -> Vec<Exported> {
    range.map(|id| event(id, "com.example.request", r#"{"units":1}"#)).collect()
}

pub fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

#[tokio::test]
async fn events_are_stored_in_order_and_once_however_often_they_are_sent() {
    let nats = Fixture::new(|_| ()).await;
    let destination = nats.destination();
    let events = events(0..700);
    assert_eq!(destination.send(&events[..500]).await, Ok(500));
    assert_eq!(destination.send(&events[200..]).await, Ok(500));
    assert_eq!(nats.ids().await, ids(0..700));
}

#[tokio::test]
async fn a_message_is_a_cloud_event_under_the_subject_of_its_type() {
    let nats = Fixture::new(|_| ()).await;
    let odd = event(7, "com.example.*.Ünits used", r#"{"units":1.10}"#);
    assert_eq!(nats.destination().send(&[odd]).await, Ok(1));
    let name = nats.prefix.trim_end_matches(".usage");
    let stream = nats.context.get_stream(name).await.expect("the stream");
    let message = stream.get_raw_message(1).await.expect("a message");
    assert_eq!(message.subject.as_str(), format!("{}.com.example._._nits_used", nats.prefix));
    let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("Nats-Msg-Id").as_deref(), Some("/shop#7"));
    assert_eq!(header("Content-Type").as_deref(), Some("application/cloudevents+json"));
    let body: Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!((&body["specversion"], &body["halfbytetenant"]), (&"1.0".into(), &"acme".into()));
    assert!(std::str::from_utf8(&message.payload).expect("text").contains(r#""units":1.10"#), "{body}");
}

#[tokio::test]
async fn without_a_stream_it_is_tried_again_and_not_refused() {
    let context = jetstream::new(connect(&crate::server("HB_TEST_NATS_URL")).await);
    let destination = NatsDestination::new(context, &format!("t{}", Uuid::now_v7().simple())).expect("a prefix");
    let error = destination.send(&events(0..3)).await.expect_err("nobody takes it");
    assert!(!error.is_permanent());
    assert_eq!(error.to_string(), "no stream found for given subject");
}

#[tokio::test]
async fn an_event_that_the_stream_finds_too_large_is_refused_and_those_before_it_are_safe() {
    let large = format!(r#"{{"blob":"{}"}}"#, "x".repeat(3000));
    let longest = format!(r#"{{"blob":"{}"}}"#, "x".repeat((64 << 10) - 11));
    for data in [large, longest] {
        let nats = Fixture::new(|config| config.max_message_size = 1000).await;
        let mut events = events(0..5);
        events[3] = event(3, "com.example.request", &data);
        assert_eq!(nats.destination().send(&events).await, Ok(3));
        let error = nats.destination().send(&events[3..]).await.expect_err("too large");
        assert!(error.is_permanent(), "{error}");
        assert!(error.to_string().len() < 400, "{error}");
    }
}

#[tokio::test]
async fn a_prefix_that_is_no_subject_is_refused() {
    let context = jetstream::new(connect(&crate::server("HB_TEST_NATS_URL")).await);
    for bad in ["", "a..b", ".a", "a.", "a.*", ">", "a b"] {
        assert!(NatsDestination::new(context.clone(), bad).is_err(), "{bad:?}");
    }
}

/// Hands connections on to the server, and breaks each off after so many bytes, in the middle of whatever that is.
/// Of every second connection, the answers that are on their way still come through. Answers its address and the number of
/// connections that it has had.
async fn breaking_proxy(life: &Lifecycle, server: &str, bytes: u64) -> (String, Arc<AtomicUsize>) {
    let server = server.trim_start_matches("nats://").to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = format!("nats://{}", listener.local_addr().expect("bound"));
    let count = Arc::new(AtomicUsize::new(0));
    let (connections, counted) = (life.clone(), Arc::clone(&count));
    life.spawn("proxy", async move {
        loop {
            let (client, _) = listener.accept().await.expect("a connection");
            let server = TcpStream::connect(&server).await.expect("the server");
            let answers = Duration::from_millis(if counted.fetch_add(1, Ordering::Relaxed) % 2 == 0 { 20 } else { 0 });
            connections.spawn("connection", async move {
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let mut from_client = from_client.take(bytes);
                let there = async {
                    let _broken_off = tokio::io::copy(&mut from_client, &mut to_server).await;
                    tokio::time::sleep(answers).await;
                };
                tokio::select! {
                    () = there => {}
                    _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    (address, count)
}

/// Sends as an export does: on from what is safe, again after a failure.
async fn send_all(destination: &NatsDestination, events: &[Exported]) {
    let mut safe = 0;
    while safe < events.len() {
        let end = events.len().min(safe + 256);
        match destination.send(&events[safe..end]).await {
            Ok(sent) => safe += sent,
            Err(error) => {
                assert!(!SendError::is_permanent(&error), "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[tokio::test]
async fn connections_that_break_cost_no_event_and_double_none() {
    for (in_flight, events) in [(256, 1000), (1, 300)] {
        let nats = Fixture::new(|_| ()).await;
        let life = Lifecycle::new(Clock::system());
        let (proxy, connections) = breaking_proxy(&life, &crate::server("HB_TEST_NATS_URL"), 50_000).await;
        let mut context = jetstream::new(connect(&proxy).await);
        context.set_timeout(Duration::from_millis(200));
        let destination = NatsDestination::new(context, &nats.prefix).expect("a prefix").in_flight(in_flight);
        send_all(&destination, &self::events(0..events)).await;
        let mut stored = nats.ids().await;
        if in_flight > 1 {
            stored.sort_by_key(|id| id.parse::<usize>().expect("a number"));
        }
        assert!(stored == ids(0..events), "in flight {in_flight}: {} stored", stored.len());
        assert!(connections.load(Ordering::Relaxed) > 2, "connections broke");
        life.stop_tasks(Duration::ZERO).await;
    }
}
