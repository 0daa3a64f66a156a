//! A database password changes while tasks query.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use halfbyte::core::home::Home;
use halfbyte::core::{Clock, Lifecycle};
use halfbyte::secrets::postgres::Database;
use halfbyte::secrets::{Local, Outcome as Told, Secrets, live};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Outcome;
use crate::company::Company;
use crate::screen::Screen;

const ROTATIONS: u64 = 5;
const TASKS: usize = 8;
const SECRET: &str = "orders-database";
/// The server of `cargo xtask backends` asks roles of this beginning for their password.
const ROLE: &str = "password_tour";
const WAIT: Duration = Duration::from_secs(15);

/// Needs a PostgreSQL at `server`, which not everybody who takes the tour has.
pub async fn show(screen: &mut Screen, company: &Company, server: Option<&str>) -> Outcome {
    screen.step(
        "A database password",
        "The password of a PostgreSQL role changes five times while 8 tasks query through one pool that follows it.\n\
         The database knows of it first; the secret follows, and the program is told by nobody.",
    );
    let Some(server) = server else {
        screen.left_out("it needs a PostgreSQL; `cargo xtask backends up postgres` starts one and prints what to set");
        return Ok(());
    };
    let lifecycle = Lifecycle::new(Clock::system());
    // A home of its own: the products have nothing to do with it.
    let secrets = Local::open(&Home::open(company.folder.join("operator"))?)?;
    let mut operator = Operator::hire(server, secrets).await?;
    let rejected = Arc::new(AtomicUsize::new(0));
    let (secrets, counted) = (operator.secrets.clone(), rejected.clone());
    // It does not look again by itself, as it would each second in a file, but is told by the logins that are refused.
    let policy = live::Policy {
        fresh_for: Duration::from_secs(600),
        demand_gap: Duration::from_millis(10),
        ..live::Policy::default()
    };
    let product = Secrets::builder(secrets)
        .policy(policy)
        .listen(move |event| {
            counted.fetch_add(usize::from(event.outcome == Told::Rejected), Ordering::Relaxed);
        })
        .build(&lifecycle);
    let database = Database::builder(product.get(SECRET), operator.server.clone())
        .pool(PgPoolOptions::new().max_connections(4))
        .connect(&lifecycle)
        .await?;
    let queries = Queries::start(&database);
    for round in 1..=ROTATIONS {
        queries.progress(200).await?;
        let seen = database.generation();
        let before = operator.change_password().await?;
        // The login that takes its place is refused, which is how the pool comes to know.
        let begun = Instant::now();
        database.acquire().await?.close().await?;
        let generation = timeout(WAIT, database.changed(seen)).await.map_err(|_| "the pool does not follow")?;
        let took = begun.elapsed().as_millis();
        let gone = operator.sessions_gone(before).await?;
        screen.say(&format!(
            "round {round}: generation {generation} in use after {took} ms, {gone} connections of the one before closed"
        ));
    }
    queries.progress(200).await?;
    let seen = queries.stop().await;
    let rejections = rejected.load(Ordering::Relaxed);
    let generations: Vec<_> = seen.generations.iter().map(u64::to_string).collect();
    screen.say(&format!("{} queries served, {} failed", seen.served, seen.failed.len()));
    screen.say(&format!(
        "generations seen: {}; old passwords that the database refused, and the pool replaced: {rejections}",
        generations.join(", ")
    ));
    if let Some(failure) = seen.failed.first() {
        return Err(format!("{} queries failed, such as: {failure}", seen.failed.len()).into());
    }
    if seen.generations != (1..=ROTATIONS + 1).collect() {
        return Err(format!("generations 1 to {} were to be seen, not {:?}", ROTATIONS + 1, seen.generations).into());
    }
    operator.first_password_is_refused().await?;
    screen.detail("the first password is refused by now");
    if !lifecycle.stop_tasks(WAIT).await {
        return Err("the pool does not end".into());
    }
    operator.leave().await?;
    screen.seen(&format!(
        "{ROTATIONS} passwords later: {} queries served, none failed, no old connection left",
        seen.served
    ));
    Ok(())
}

/// Who changes passwords.
struct Operator {
    sql: PgConnection,
    /// Where the database is, without who logs in.
    server: PgConnectOptions,
    secrets: Local,
    first: SecretString,
}

impl Operator {
    async fn hire(server: &str, secrets: Local) -> Outcome<Self> {
        let options: PgConnectOptions = server.parse()?;
        let mut sql = PgConnection::connect_with(&options).await?;
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1")
            .bind(ROLE)
            .execute(&mut sql)
            .await?;
        for statement in [format!("drop role if exists {ROLE}"), format!("create role {ROLE} login")] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut sql).await?;
        }
        let first = new_password()?;
        let mut operator = Self { sql, server: options.application_name("halfbyte-tour"), secrets, first };
        operator.set_password(operator.first.clone()).await?;
        Ok(operator)
    }

    /// First in the database, then where the product reads it.
    async fn set_password(&mut self, password: SecretString) -> Outcome {
        let statement = format!("alter role {ROLE} password '{}'", password.expose_secret());
        sqlx::query(AssertSqlSafe(statement)).execute(&mut self.sql).await?;
        let credential = json!({ "username": ROLE, "password": password.expose_secret() }).to_string().into();
        let secrets = self.secrets.clone();
        tokio::task::spawn_blocking(move || secrets.set(SECRET, &credential)).await??;
        Ok(())
    }

    /// Answers the sessions that the role had before.
    async fn change_password(&mut self) -> Outcome<Vec<i32>> {
        let sql = "select pid from pg_stat_activity where usename = $1";
        let before = sqlx::query_scalar(sql).bind(ROLE).fetch_all(&mut self.sql).await?;
        self.set_password(new_password()?).await?;
        Ok(before)
    }

    /// Waits until none of `sessions` is open; answers how many there were.
    async fn sessions_gone(&mut self, sessions: Vec<i32>) -> Outcome<usize> {
        let begun = Instant::now();
        let sql = "select count(*) from pg_stat_activity where usename = $1 and pid = any($2)";
        loop {
            let left: i64 = sqlx::query_scalar(sql).bind(ROLE).bind(&sessions).fetch_one(&mut self.sql).await?;
            if left == 0 {
                return Ok(sessions.len());
            }
            if begun.elapsed() > WAIT {
                return Err(format!("{left} connections of an old password are still open").into());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn first_password_is_refused(&self) -> Outcome {
        let options = self.server.clone().username(ROLE).password(self.first.expose_secret());
        match PgConnection::connect_with(&options).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("28P01") => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err("the server lets the first password in: it does not ask for one".into()),
        }
    }

    async fn leave(mut self) -> Outcome {
        sqlx::query(AssertSqlSafe(format!("drop role {ROLE}"))).execute(&mut self.sql).await?;
        Ok(self.sql.close().await?)
    }
}

fn new_password() -> Outcome<SecretString> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

/// Tasks that each query again and again, until they are stopped.
struct Queries {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: JoinSet<Seen>,
}

/// What a task has seen.
#[derive(Default)]
struct Seen {
    served: usize,
    failed: Vec<String>,
    /// Which the pool was at.
    generations: BTreeSet<u64>,
}

impl Queries {
    fn start(database: &Database) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (database, stop, answered) = (database.clone(), stop.clone(), answered.clone());
            tasks.spawn(async move {
                let mut seen = Seen::default();
                while !stop.load(Ordering::Relaxed) {
                    match query(&database, seen.served).await {
                        Ok(()) => seen.served += 1,
                        Err(error) => seen.failed.push(error.to_string()),
                    }
                    seen.generations.insert(database.generation());
                    answered.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(1)).await;
                }
                seen
            });
        }
        Self { stop, answered, tasks }
    }

    /// Waits until `more` were answered.
    async fn progress(&self, more: usize) -> Outcome {
        let target = self.answered.load(Ordering::Relaxed) + more;
        let reached = async {
            while self.answered.load(Ordering::Relaxed) < target {
                sleep(Duration::from_millis(5)).await;
            }
        };
        Ok(timeout(WAIT, reached).await.map_err(|_| "the queries do not go on")?)
    }

    async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for seen in self.tasks.join_all().await {
            all.served += seen.served;
            all.failed.extend(seen.failed);
            all.generations.extend(seen.generations);
        }
        all
    }
}

async fn query(database: &Database, number: usize) -> Outcome {
    let number = i64::try_from(number)?;
    let mut connection = database.acquire().await?;
    let answer: i64 = sqlx::query_scalar("select $1::bigint + 1").bind(number).fetch_one(&mut *connection).await?;
    if answer == number + 1 { Ok(()) } else { Err(format!("{number} + 1 is not {answer}").into()) }
}
