//! One process after the other on one socket, as a service manager holds it, under load.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::child::Product;

/// How often each process answered, and what was lost.
#[derive(Debug, Default)]
struct Counts {
    answered: BTreeMap<u32, u64>,
    lost: Vec<String>,
}

impl Counts {
    fn count(&mut self, answer: Result<u32, String>) {
        match answer {
            Ok(id) => *self.answered.entry(id).or_default() += 1,
            Err(why) => self.lost.push(why),
        }
    }
}

/// One request on a connection of its own, without a second try.
async fn once(address: SocketAddr) -> Result<u32, String> {
    let say = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(say)?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.map_err(say)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(say)?;
    let id = answer.starts_with("HTTP/1.1 200 ").then(|| answer.rsplit("\r\n").next()?.parse().ok()).flatten();
    id.ok_or(answer)
}

/// One request of a client that keeps its connections.
async fn again(client: &reqwest::Client, address: SocketAddr) -> Result<u32, String> {
    let answer = client.get(format!("http://{address}/")).send().await.map_err(|error| format!("{error:?}"))?;
    let (status, text) = (answer.status(), answer.text().await.map_err(|error| format!("{error:?}"))?);
    if status == 200 { text.parse().map_err(|_| text) } else { Err(text) }
}

/// Asks without a pause until it is told to stop: by connections of their own, and by those of clients that keep them.
fn load(address: SocketAddr, stop: &Arc<AtomicBool>) -> JoinSet<Counts> {
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (stop, client) = (stop.clone(), reqwest::Client::builder().http1_only().build().unwrap());
        let for_once = stop.clone();
        load.spawn(async move {
            let mut counts = Counts::default();
            while !for_once.load(Ordering::Relaxed) {
                counts.count(once(address).await);
            }
            counts
        });
        load.spawn(async move {
            let mut counts = Counts::default();
            while !stop.load(Ordering::Relaxed) {
                counts.count(again(&client, address).await);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            counts
        });
    }
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_takes_over_and_not_one_request_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let lame_duck = [("HALFBYTE_LAME_DUCK", "1")];
    let mut first = Product::start("serves", folder.path(), Some(&socket), &lame_duck);
    first.told("READY=1").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = load(address, &stop);
    tokio::time::sleep(Duration::from_millis(300)).await;

    let mut second = Product::start("serves", folder.path(), Some(&socket), &lame_duck);
    second.told("READY=1").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.signal("TERM");
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);

    let mut all = Counts::default();
    while let Some(counts) = load.join_next().await {
        let counts = counts.unwrap();
        all.lost.extend(counts.lost);
        for (id, answered) in counts.answered {
            *all.answered.entry(id).or_default() += answered;
        }
    }
    assert_eq!(all.lost, [""; 0], "{:?}", all.answered);
    for product in [&first, &second] {
        assert!(all.answered.get(&product.id()).is_some_and(|answered| *answered > 0), "{:?}", all.answered);
    }
    second.signal("TERM");
    assert_eq!(second.ended().await.code(), Some(0), "{}", second.log());
}

#[tokio::test]
async fn while_nobody_serves_clients_wait_at_a_socket_that_is_held_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let mut first = Product::start("serves", folder.path(), Some(&socket), &[]);
    first.told("READY=1").await;
    first.signal("TERM");
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    let mut waits = JoinSet::new();
    waits.spawn(once(address));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = Product::start("serves", folder.path(), Some(&socket), &[]);
    assert_eq!(waits.join_next().await.unwrap().unwrap(), Ok(second.id()));
}

#[tokio::test]
async fn the_environment_stays_as_it_is_and_programs_that_are_started_have_no_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let product = Product::start("serves", folder.path(), Some(&socket), &[]);
    product.told("READY=1").await;
    let left = reqwest::get(product.url("/handed-over")).await.unwrap().text().await.unwrap();
    assert_eq!(left, "[true, true] closed\n");
}

#[tokio::test]
async fn a_socket_that_is_for_nothing_known_is_refused_with_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Two are announced, and one is named.
    let mut product = Product::start("serves", folder.path(), Some(&socket), &[("PLATFORM_FDS", "2")]);
    assert_eq!(product.ended().await.code(), Some(78), "{}", product.log());
    assert!(product.log().contains("at most one is public"), "{}", product.log());
}
