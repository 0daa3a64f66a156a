//! Real sockets: the servers in turns under load, and how long a product takes to be ready.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use halfbyte_benches::{Pair, count, median, ratio};
use tokio::runtime::Runtime;

use crate::load::{CONNECTIONS, Client};
use crate::product::{Asks, Failure};
use crate::servers::{FOLDER, Hello, PRODUCT};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(400);

/// A server as a process, which ends with this.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Server {
    fn start(which: &str, (variable, value): (&str, &str)) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", which])
            .env(variable, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, out })
    }

    fn hears(&mut self) -> Result<Hello, Failure> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The time that it has computed, in ticks of 10 ms.
    fn ticks(&self) -> Result<u64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold blanks; user and system time are the 14th and 15th field.
        let (_, fields) = stat.rsplit_once(')').ok_or("no such process")?;
        let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut next = || fields.next().unwrap_or(Ok(0));
        Ok(next()? + next()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A route of a server under load, and what came of it.
struct Subject<'a> {
    name: &'static str,
    server: &'a Server,
    client: Client,
    times: Vec<Duration>,
    requests: u64,
    ticks: u64,
}

impl<'a> Subject<'a> {
    async fn new(name: &'static str, server: &'a Server, asks: Asks, hello: &Hello) -> Result<Self, Failure> {
        let mut client = Client::connect(hello.port, &asks.method(), &hello.token).await?;
        client.run(ROUND).await?;
        Ok(Self { name, server, client, times: Vec::new(), requests: 0, ticks: 0 })
    }

    async fn round(&mut self) -> Result<(), Failure> {
        let (ticks, began) = (self.server.ticks()?, Instant::now());
        let requests = self.client.run(ROUND).await?;
        self.times.push(began.elapsed() / u32::try_from(requests.max(1))?);
        self.ticks += self.server.ticks()? - ticks;
        self.requests += requests;
        Ok(())
    }

    fn time(&self) -> Duration {
        median(self.times.clone())
    }

    /// What one request takes of a processor.
    fn computed(&self) -> Duration {
        Duration::from_millis(10 * self.ticks) / u32::try_from(self.requests.max(1)).unwrap_or(u32::MAX)
    }
}

pub fn measure() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    start_to_ready(folder.path())?;
    Runtime::new()?.block_on(throughput(folder.path()))
}

async fn throughput(folder: &Path) -> Result<(), Failure> {
    let mut product = Server::start("full", (FOLDER, &folder.display().to_string()))?;
    let _ready = product.hears()?;
    let hello = product.hears()?;
    let said = serde_json::to_string(&hello)?;
    let mut bare = Server::start("bare", (PRODUCT, &said))?;
    let mut by_hand = Server::start("by-hand", (PRODUCT, &said))?;
    // They take the product's token.
    let bare_hello = Hello { port: bare.hears()?.port, ..hello.clone() };
    let by_hand_hello = Hello { port: by_hand.hears()?.port, ..hello.clone() };
    let mut ours = Vec::new();
    for (name, asks) in Asks::ALL {
        ours.push(Subject::new(name, &product, asks, &hello).await?);
    }
    let mut peers = [
        Subject::new("bare", &bare, Asks::Unit, &bare_hello).await?,
        Subject::new("by_hand", &by_hand, Asks::Unit, &by_hand_hello).await?,
    ];
    for _ in 0..ROUNDS {
        for subject in ours.iter_mut().chain(&mut peers) {
            subject.round().await?;
        }
    }
    count("stack.sockets.connections", CONNECTIONS);
    for subject in ours.iter().chain(&peers) {
        let name = subject.name;
        count(&format!("stack.sockets.{name}.requests_per_second"), (1.0 / subject.time().as_secs_f64()).round());
        count(&format!("stack.sockets.{name}.cpu_nanoseconds"), subject.computed().as_nanos());
    }
    for (ours, peer) in ours.iter().flat_map(|ours| peers.iter().map(move |peer| (ours, peer))) {
        let name = format!("stack.sockets.{}", ours.name);
        let throughput = peer.time().as_secs_f64() / ours.time().as_secs_f64();
        count(&format!("{name}.throughput_beside_{}", peer.name), format!("{throughput:.3}"));
        ratio(&format!("{name}.cpu.vs.{}", peer.name), Pair { ours: ours.computed(), theirs: peer.computed() });
    }
    Ok(())
}

/// From the start of the process until it is ready: the first one makes keys and stores, the others find them.
fn start_to_ready(folder: &Path) -> Result<(), Failure> {
    let once = || {
        let began = Instant::now();
        let mut server = Server::start("full", (FOLDER, &folder.display().to_string()))?;
        server.hears()?;
        let took = began.elapsed();
        // Customers are made while nobody watches the time.
        server.hears()?;
        Ok::<_, Failure>(took)
    };
    count("stack.start_to_ready.first_milliseconds", once()?.as_millis());
    let again = (0..5).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
    count("stack.start_to_ready.again_milliseconds", median(again).as_millis());
    Ok(())
}
