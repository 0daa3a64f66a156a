//! What one would do without billing: an `INSERT` for each event, Redis, NATS JetStream.

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use halfbyte::core::Clock;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ingestion::event;

/// So many are timed.
const FEW: u32 = 2_000;

const TABLE: &str =
    "CREATE TABLE events (source TEXT NOT NULL, id TEXT NOT NULL, tenant TEXT NOT NULL, kind TEXT NOT NULL,
    time BIGINT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (source, id))";
const INSERT: &str = "INSERT INTO events VALUES ($1, $2, 'tenant-0', 'parcel.traffic', $3, $4) ON CONFLICT DO NOTHING";

/// As durable as billing: write-ahead log, synced with every commit.
pub struct Sqlite(SqliteConnection);

impl Sqlite {
    pub async fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = options.connect().await?;
        sqlx::raw_sql(TABLE).execute(&mut connection).await?;
        Ok(Self(connection))
    }

    pub async fn insert(&mut self, number: u64) -> Result<(), Box<dyn Error>> {
        let (id, time, data) = row(number);
        let insert = sqlx::query(INSERT).bind("/bench/insert").bind(id).bind(time).bind(data);
        insert.execute(&mut self.0).await?;
        Ok(())
    }
}

pub struct Postgres(PgConnection);

impl Postgres {
    pub async fn open(url: &str) -> Result<Self, Box<dyn Error>> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(TABLE).execute(&mut connection).await?;
        Ok(Self(connection))
    }

    pub async fn insert(&mut self, number: u64) -> Result<(), Box<dyn Error>> {
        let (id, time, data) = row(number);
        let insert = sqlx::query(INSERT).bind("/bench/insert").bind(id).bind(time).bind(data);
        insert.execute(&mut self.0).await?;
        Ok(())
    }
}

fn row(number: u64) -> (String, i64, String) {
    let now = Clock::system().now().as_microsecond();
    (number.to_string(), now, format!("{{\"bytes\":{},\"region\":\"eu-central\"}}", number % 1500))
}

/// A database of this run's own on the server at `url`.
pub async fn fresh_database(url: &str) -> Result<String, Box<dyn Error>> {
    let mut server = PgConnection::connect(url).await?;
    let name = format!("bench_{}", std::process::id());
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut server).await?;
    let (base, _) = url.rsplit_once('/').ok_or("no database in the address")?;
    Ok(format!("{base}/{name}"))
}

/// The time of one `INCRBY` and `XADD` in one round trip, without waiting for a disk; `None` where no server is to be had.
pub async fn redis() -> Result<Option<Duration>, Box<dyn Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let arguments = ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()].map(str::to_owned);
    let started = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn();
    let Ok(mut server) = started else {
        println!("Redis is not compared with: no redis-server is found");
        return Ok(None);
    };
    let timed = time_redis(port).await;
    server.kill()?;
    server.wait()?;
    timed.map(Some)
}

async fn time_redis(port: u16) -> Result<Duration, Box<dyn Error>> {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    stream.set_nodelay(true)?;
    let mut answer = [0; 512];
    let began = Instant::now();
    for number in 0..FEW {
        let command =
            format!("INCRBY usage {}\r\nXADD events * id {number} bytes {}\r\n", number % 1500, number % 1500);
        stream.write_all(command.as_bytes()).await?;
        // Two answers: a number on a line, and an id as a length and a line.
        let mut lines = 0;
        while lines < 3 {
            let read = stream.read(&mut answer).await?;
            lines += answer[..read].iter().filter(|byte| **byte == b'\n').count();
        }
    }
    Ok(began.elapsed() / FEW)
}

/// The time of one event published to JetStream, each waiting for its acknowledgement.
pub async fn nats(url: &str) -> Result<Duration, Box<dyn Error>> {
    let client = async_nats::connect(url).await?;
    let stream = async_nats::jetstream::new(client);
    let subject = format!("bench.{}", std::process::id());
    let config = async_nats::jetstream::stream::Config {
        name: format!("bench-{}", std::process::id()),
        subjects: vec![subject.clone()],
        ..Default::default()
    };
    stream.create_stream(config).await?;
    let began = Instant::now();
    for number in 0..FEW {
        let json = event("nats", number.into()).to_json();
        stream.publish(subject.clone(), json.into()).await?.await?;
    }
    Ok(began.elapsed() / FEW)
}
