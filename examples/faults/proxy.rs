//! Stands in front of a server, below its protocol, and gives it bad days.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What goes wrong between a client and the server, on the connections that there are and on those to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens, and what was connected is cut.
    Refuse,
    /// Whatever the server says arrives that much later.
    Slow(Duration),
    /// Connections are taken and nothing moves on them; what was sent arrives when the fault is over.
    Hang,
    /// The server hears nothing: whatever a client says is answered by one of these, in turns, and no more.
    Answers(Arc<[Vec<u8>]>),
    /// Connections are cut when that many bytes of an answer have gone through.
    Cut(usize),
    /// The server is asked, and in place of its answer the half of the connection that would bring it is closed.
    HalfClose,
}

/// How long the rest of what a client has to say is listened to after it was answered, so that it reads the answer
/// before it notices that its connection is gone.
const LINGER: Duration = Duration::from_secs(1);
const CHUNK: usize = 16 * 1024;

/// Listens on a port of 127.0.0.1 and passes everything on, unless told otherwise. It ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Option<Fault>>,
    met: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Stands in front of `server`, on that port or, if it is 0, on a free one.
    pub async fn bind(port: u16, server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (fault, met) = (watch::Sender::new(None), Arc::new(AtomicU64::new(0)));
        let mut serving = JoinSet::new();
        let through = Through { server, fault: fault.subscribe(), met: met.clone() };
        serving.spawn(through.serve(listener, address));
        Ok(Self { address, fault, met, _serving: serving })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this goes wrong, or nothing.
    pub fn set(&self, fault: Option<Fault>) {
        self.met.store(0, Ordering::SeqCst);
        self.fault.send_replace(fault);
    }

    /// How often the fault of now was met: by a connection that came, or by one that was there and was used or cut. What
    /// is refused is seen by nobody here and does not count.
    pub fn met(&self) -> u64 {
        self.met.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Through {
    server: SocketAddr,
    fault: watch::Receiver<Option<Fault>>,
    met: Arc<AtomicU64>,
}

impl Through {
    async fn serve(mut self, listener: TcpListener, address: SocketAddr) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        loop {
            let refuses = *self.fault.borrow_and_update() == Some(Fault::Refuse);
            match &listener {
                Some(_) if refuses => {
                    listener = None;
                    self.meet(connections.len() as u64);
                    connections.shutdown().await;
                }
                None if !refuses => match TcpListener::bind(address).await {
                    Ok(bound) => listener = Some(bound),
                    // Somebody has the port for a moment, as connections of their own do.
                    Err(_) => sleep(Duration::from_millis(10)).await,
                },
                Some(listener) => tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((client, _)) = accepted {
                            connections.spawn(self.clone().connection(client));
                        }
                    }
                    Some(_ended) = connections.join_next() => {}
                    changed = self.fault.changed() => if changed.is_err() { return },
                },
                None => {
                    if self.fault.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn meet(&self, times: u64) {
        self.met.fetch_add(times, Ordering::SeqCst);
    }

    async fn connection(mut self, client: TcpStream) {
        let _as_it_was = client.set_nodelay(true);
        if self.fault.borrow().is_some() {
            self.meet(1);
        }
        // Under a fault that the server does not see, it is not bothered.
        let server = loop {
            let fault = self.fault.borrow_and_update().clone();
            match fault {
                Some(Fault::Answers(answers)) => return self.answer(client, &answers).await,
                Some(Fault::Hang) => {
                    if self.fault.changed().await.is_err() {
                        return;
                    }
                }
                _ => break TcpStream::connect(self.server).await,
            }
        };
        let Ok(server) = server else { return };
        let _as_it_was = server.set_nodelay(true);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (interject, interjected) = mpsc::channel(1);
        let asked = self.clone().asked(from_client, to_server, interject);
        let answered = self.clone().answered(from_server, to_client, interjected);
        tokio::pin!(asked, answered);
        // Either way may end before the other, as TCP has it; when a fault cuts one, both end.
        tokio::select! {
            cut = &mut asked => if !cut { answered.await; },
            cut = &mut answered => if !cut { asked.await; },
        }
    }

    /// Answers whatever is said, without the server.
    async fn answer(&self, mut client: TcpStream, answers: &[Vec<u8>]) {
        let mut buffer = vec![0; CHUNK];
        if !matches!(client.read(&mut buffer).await, Ok(1..)) {
            return;
        }
        let _gone = client.write_all(self.next(answers)).await;
        let _gone = client.shutdown().await;
        let rest = async { while matches!(client.read(&mut buffer).await, Ok(1..)) {} };
        let _at_most = timeout(LINGER, rest).await;
    }

    fn next<'a>(&self, answers: &'a [Vec<u8>]) -> &'a [u8] {
        let turn = self.met.load(Ordering::SeqCst) as usize;
        answers.get(turn % answers.len().max(1)).map_or(&[], Vec::as_slice)
    }

    /// From the client to the server; answers whether that is the end of the connection.
    async fn asked(
        mut self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
        interject: mpsc::Sender<Vec<u8>>,
    ) -> bool {
        let mut buffer = vec![0; CHUNK];
        while let Ok(read @ 1..) = client.read(&mut buffer).await {
            loop {
                let fault = self.fault.borrow_and_update().clone();
                match fault {
                    Some(Fault::Answers(answers)) => {
                        self.meet(1);
                        let _ended = interject.send(self.next(&answers).to_vec()).await;
                        let rest = async { while matches!(client.read(&mut buffer).await, Ok(1..)) {} };
                        let _at_most = timeout(LINGER, rest).await;
                        return true;
                    }
                    Some(Fault::Hang) => {
                        self.meet(1);
                        if self.fault.changed().await.is_err() {
                            return true;
                        }
                    }
                    _ => break,
                }
            }
            if server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        let _gone = server.shutdown().await;
        false
    }

    /// From the server to the client; answers whether that is the end of the connection.
    async fn answered(
        self,
        mut server: OwnedReadHalf,
        client: OwnedWriteHalf,
        interjected: mpsc::Receiver<Vec<u8>>,
    ) -> bool {
        // What is slow is late, and not less: chunks are on their way at the same time.
        let (on_its_way, arrives) = mpsc::channel(64);
        let read = async {
            let mut buffer = vec![0; CHUNK];
            while let Ok(read @ 1..) = server.read(&mut buffer).await {
                let late = match &*self.fault.borrow() {
                    Some(Fault::Slow(late)) => *late,
                    _ => Duration::ZERO,
                };
                if !late.is_zero() {
                    self.meet(1);
                }
                if on_its_way.send((Instant::now() + late, buffer[..read].to_vec())).await.is_err() {
                    break;
                }
            }
            drop(on_its_way);
            std::future::pending().await
        };
        tokio::select! {
            () = read => true,
            cut = self.clone().deliver(arrives, client, interjected) => cut,
        }
    }

    async fn deliver(
        mut self,
        mut arrives: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut client: OwnedWriteHalf,
        mut interjected: mpsc::Receiver<Vec<u8>>,
    ) -> bool {
        let mut passed = 0;
        let mut may_interject = true;
        loop {
            let (at, chunk) = tokio::select! {
                biased;
                canned = interjected.recv(), if may_interject => match canned {
                    Some(canned) => {
                        let _gone = client.write_all(&canned).await;
                        let _gone = client.shutdown().await;
                        return false;
                    }
                    None => {
                        may_interject = false;
                        continue;
                    }
                },
                chunk = arrives.recv() => match chunk {
                    Some(chunk) => chunk,
                    None => break,
                },
            };
            sleep_until(at).await;
            let fault = loop {
                let fault = self.fault.borrow_and_update().clone();
                if fault != Some(Fault::Hang) {
                    break fault;
                }
                if self.fault.changed().await.is_err() {
                    return true;
                }
            };
            let chunk = match fault {
                Some(Fault::Cut(after)) => {
                    let left = after.saturating_sub(passed).min(chunk.len());
                    let _gone = client.write_all(&chunk[..left]).await;
                    passed += left;
                    if passed >= after {
                        self.meet(1);
                        return true;
                    }
                    continue;
                }
                Some(Fault::HalfClose) => {
                    self.meet(1);
                    break;
                }
                // It was on its way when the fault began: what comes in its place is all that there is.
                Some(Fault::Answers(answers)) => {
                    self.meet(1);
                    let _gone = client.write_all(self.next(&answers)).await;
                    let _gone = client.shutdown().await;
                    return true;
                }
                _ => chunk,
            };
            if client.write_all(&chunk).await.is_err() {
                return true;
            }
        }
        let _gone = client.shutdown().await;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each line with itself.
    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (address, serving)
    }

    async fn say(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut buffer = [0; 100];
        let read = timeout(Duration::from_millis(300), stream.read(&mut buffer)).await??;
        Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
    }

    #[tokio::test]
    async fn what_is_said_goes_through_until_a_fault_and_again_after_it() {
        let (server, _serving) = echo().await;
        let proxy = Proxy::bind(0, server).await.unwrap();
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut old, "one").await.unwrap(), "one");
        proxy.set(Some(Fault::Refuse));
        assert_eq!(say(&mut old, "two").await.unwrap_or_default(), "", "it is cut");
        TcpStream::connect(proxy.address()).await.expect_err("nobody listens");
        assert_eq!(proxy.met(), 1);
        proxy.set(None);
        let mut new = loop {
            match TcpStream::connect(proxy.address()).await {
                Ok(new) => break new,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(say(&mut new, "three").await.unwrap(), "three");
    }

    #[tokio::test]
    async fn what_hangs_arrives_when_it_hangs_no_more() {
        let (server, _serving) = echo().await;
        let proxy = Proxy::bind(0, server).await.unwrap();
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut old, "one").await.unwrap(), "one");
        proxy.set(Some(Fault::Hang));
        say(&mut old, "two").await.expect_err("it hangs");
        let mut new = TcpStream::connect(proxy.address()).await.expect("it is taken");
        say(&mut new, "three").await.expect_err("it hangs");
        assert_eq!(proxy.met(), 2);
        proxy.set(None);
        assert_eq!(say(&mut old, "").await.unwrap(), "two");
        assert_eq!(say(&mut new, "").await.unwrap(), "three");
    }

    #[tokio::test]
    async fn what_is_slow_is_late() {
        let (server, _serving) = echo().await;
        let proxy = Proxy::bind(0, server).await.unwrap();
        proxy.set(Some(Fault::Slow(Duration::from_millis(100))));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let begun = Instant::now();
        assert_eq!(say(&mut stream, "one").await.unwrap(), "one");
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_canned_answer_is_all_that_there_is_of_the_server() {
        let (server, _serving) = echo().await;
        let proxy = Proxy::bind(0, server).await.unwrap();
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut old, "one").await.unwrap(), "one");
        proxy.set(Some(Fault::Answers([b"no".to_vec()].into())));
        for mut stream in [old, TcpStream::connect(proxy.address()).await.unwrap()] {
            assert_eq!(say(&mut stream, "two").await.unwrap(), "no");
            assert_eq!(say(&mut stream, "").await.unwrap(), "", "and that was all");
        }
    }

    #[tokio::test]
    async fn an_answer_is_cut_where_it_was_said_or_left_out() {
        let (server, _serving) = echo().await;
        let proxy = Proxy::bind(0, server).await.unwrap();
        for (fault, heard) in [(Fault::Cut(2), "on"), (Fault::HalfClose, "")] {
            proxy.set(Some(fault));
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(say(&mut stream, "one").await.unwrap(), heard);
            assert_eq!(say(&mut stream, "").await.unwrap(), "");
        }
    }
}
