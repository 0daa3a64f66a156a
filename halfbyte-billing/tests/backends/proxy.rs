//! A way to PostgreSQL that fails as networks do: it falls silent, or breaks around a commit.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halfbyte_core::{Clock, Lifecycle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The code of a client that asks for encryption before its session begins.
const ENCRYPTION: [u8; 4] = 80_877_103_u32.to_be_bytes();
/// What statements say that only the batches of the committer have.
const OF_A_BATCH: [&str; 2] = ["SET batch", "INTO events"];

/// What becomes of the commit of a batch. All but the first cut the client off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Through,
    /// The server never gets it.
    Lost,
    /// It is done, and its answer gets lost.
    Unanswered,
    /// The server gets it this long after the client was cut off.
    Late(Duration),
}

/// Hands connections on to a server, until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _life: Lifecycle,
}

struct Shared {
    voice: watch::Sender<Voice>,
    fate: Mutex<Box<dyn FnMut() -> Fate + Send>>,
    cut: AtomicUsize,
}

#[derive(Default)]
struct Voice {
    silent: bool,
    /// Connections before this one stay silent for ever.
    first: usize,
    connections: usize,
}

impl Proxy {
    /// In front of the server of `url`.
    pub async fn start(url: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = host_of(url).to_owned();
        let shared = Arc::new(Shared {
            voice: watch::Sender::default(),
            fate: Mutex::new(Box::new(|| Fate::Through)),
            cut: AtomicUsize::new(0),
        });
        let life = Lifecycle::new(Clock::system());
        let (handed, connections) = (shared.clone(), life.clone());
        life.spawn("proxy", async move {
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                let number = handed.voice.borrow().connections;
                handed.voice.send_modify(|voice| voice.connections += 1);
                let (shared, server) = (handed.clone(), server.clone());
                connections.spawn("connection", async move {
                    // Whichever end breaks it off, the other one is broken off as well.
                    _ = shared.connect(client, &server, number).await;
                });
            }
        });
        Self { address, shared, _life: life }
    }

    /// The same database by this way.
    pub fn url(&self, url: &str) -> String {
        url.replace(host_of(url), &self.address.to_string())
    }

    /// Nothing comes through any more, in either direction; nothing is closed either.
    pub fn silence(&self) {
        self.shared.voice.send_modify(|voice| voice.silent = true);
    }

    /// What was held up comes through.
    pub fn speak(&self) {
        self.shared.voice.send_modify(|voice| voice.silent = false);
    }

    /// The connections that are open stay so, and nothing will ever come through them again.
    pub fn strand(&self) {
        self.shared.voice.send_modify(|voice| voice.first = voice.connections);
    }

    /// Decides what becomes of each commit of a batch from now on.
    pub fn commits(&self, fate: impl FnMut() -> Fate + Send + 'static) {
        *self.shared.fate.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(fate);
    }

    /// How many commits it has cut.
    pub fn cut(&self) -> usize {
        self.shared.cut.load(Ordering::Relaxed)
    }
}

fn host_of(url: &str) -> &str {
    let (_, host) = url.split_once('@').expect("a user");
    host.split('/').next().expect("a host")
}

impl Shared {
    async fn connect(&self, client: TcpStream, server: &str, number: usize) -> io::Result<()> {
        let server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (commit, fate) = tokio::select! {
            ended = self.hand_on(number, &mut from_client, &mut to_server) => ended?,
            ended = self.answer(number, &mut from_server, &mut to_client) => return ended,
        };
        self.cut.fetch_add(1, Ordering::Relaxed);
        if fate == Fate::Lost {
            return Ok(());
        }
        if let Fate::Late(late) = fate {
            drop((from_client, to_client));
            tokio::time::sleep(late).await;
            to_server.write_all(&commit).await?;
            from_server.read_u8().await?;
            return Ok(());
        }
        to_server.write_all(&commit).await?;
        // The client is cut off when the server has done it.
        from_server.read_u8().await?;
        Ok(())
    }

    /// Hands on what the client says, up to a commit that it is not to come through with.
    async fn hand_on(
        &self,
        number: usize,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> io::Result<(Vec<u8>, Fate)> {
        let mut client = Client::default();
        loop {
            let message = client.next(from).await?;
            self.hear(number).await;
            if client.commits_a_batch(&message) {
                let fate = self.fate.lock().unwrap_or_else(PoisonError::into_inner)();
                if fate != Fate::Through {
                    return Ok((message, fate));
                }
            }
            to.write_all(&message).await?;
        }
    }

    async fn answer(&self, number: usize, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut bytes).await?;
            self.hear(number).await;
            if count == 0 {
                return Ok(());
            }
            to.write_all(&bytes[..count]).await?;
        }
    }

    /// Waits until something comes through again.
    async fn hear(&self, number: usize) {
        let mut voice = self.voice.subscribe();
        _ = voice.wait_for(|voice| !voice.silent && number >= voice.first).await;
    }
}

/// What a client of PostgreSQL has said so far, as far as it matters.
#[derive(Default)]
struct Client {
    started: bool,
    /// The names of prepared statements that only batches have.
    statements: HashSet<Vec<u8>>,
    in_batch: bool,
}

impl Client {
    /// One message: a tag, except at the start of a session, the length of the rest, the rest.
    async fn next(&mut self, from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        if self.started {
            message.push(from.read_u8().await?);
        }
        let length = from.read_u32().await?;
        message.extend(length.to_be_bytes());
        let begin = message.len();
        message.resize(begin + usize::try_from(length).expect("it fits") - 4, 0);
        from.read_exact(&mut message[begin..]).await?;
        self.started = self.started || message[4..8] != ENCRYPTION;
        Ok(message)
    }

    fn commits_a_batch(&mut self, message: &[u8]) -> bool {
        let mut texts = message.get(5..).unwrap_or_default().split(|byte| *byte == 0);
        match (message[0], texts.next(), texts.next()) {
            (b'P', Some(name), Some(sql)) => {
                let sql = String::from_utf8_lossy(sql);
                if OF_A_BATCH.iter().any(|part| sql.contains(part)) {
                    self.statements.insert(name.to_owned());
                }
            }
            (b'B', Some(_portal), Some(statement)) => self.in_batch |= self.statements.contains(statement),
            (b'Q', Some(sql), _) => return std::mem::take(&mut self.in_batch) && sql == b"COMMIT",
            _ => {}
        }
        false
    }
}
