//! A product in a process of its own: this test binary again, with a role to play.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path as InPath;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::routing::get;
use halfbyte::core::Lifecycle;
use halfbyte::core::config::Config;
use halfbyte::core::lifecycle::{Check, Phase};
use halfbyte::{Contract, Deviation, Error, Platform};
use tempfile::TempDir;

const ROLE: &str = "PLATFORM_ROLE";

/// How long a test waits before it says that something hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A running product. Dropping it kills it.
pub struct Product {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    log: std::path::PathBuf,
    notified: UnixDatagram,
    _sockets: TempDir,
}

impl Product {
    /// Starts one with a state in `folder`, on a free port or on `socket`.
    pub fn start(role: &str, folder: &Path, socket: Option<&TcpListener>, variables: &[(&str, &str)]) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let notify = sockets.path().join("notify");
        let notified = UnixDatagram::bind(&notify).unwrap();
        notified.set_read_timeout(Some(HANGS)).unwrap();
        let (public, admin) = (free_port(), free_port());
        let log = sockets.path().join("log");
        let file = File::create(&log).unwrap();
        // The shell takes its own process id along into the product, as a service manager would name it.
        let mut command = Command::new("sh");
        let script = match socket {
            Some(_) => {
                r#"LISTEN_PID=$$ LISTEN_FDS=${PLATFORM_FDS:-1} LISTEN_FDNAMES=public exec "$@" 3<&0 0</dev/null"#
            }
            None => r#"exec "$@" 0</dev/null"#,
        };
        // As for the first process of a container: what a signal does by default is nothing.
        let script = if role == "first" { format!("trap '' TERM INT; {script}") } else { script.to_owned() };
        command.args(["-c", &script, "product"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "child::the_product", "--nocapture", "--test-threads", "1"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env(ROLE, role).env("RUST_LOG", "info").env("NO_COLOR", "1");
        command.env("HALFBYTE_HOME", folder.join("home")).env("HALFBYTE_ADMIN_LISTEN", admin.to_string());
        command.env("HALFBYTE_LISTEN", public.to_string()).env("NOTIFY_SOCKET", &notify);
        command.envs(variables.iter().copied());
        let stdin = socket
            .map_or_else(Stdio::null, |socket| Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap())));
        let child = command.stdin(stdin).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let public = socket.map_or(public, |socket| socket.local_addr().unwrap());
        Self { public, admin, child, log, notified, _sockets: sockets }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has told its service manager `state`.
    pub async fn told(&self, state: &str) {
        let socket = self.notified.try_clone().unwrap();
        let told = tokio::task::spawn_blocking(move || {
            let mut text = [0; 64];
            let length = socket.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..length]).into_owned()
        });
        let told = told.await;
        assert!(told.as_ref().is_ok_and(|told| told == state), "{told:?}, and not {state}:\n{}", self.log());
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(status.success(), "{name} could not be sent");
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < HANGS, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until its log says `text`.
    pub async fn says(&self, text: &str) {
        let began = Instant::now();
        while !self.log().contains(text) {
            assert!(began.elapsed() < HANGS, "it does not say {text}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Does nothing unless it was started with a role.
#[test]
fn the_product() {
    let Ok(config) = Config::from_env() else { return };
    let Some(role) = config.other.get(ROLE).map(str::to_owned) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(serve(&role));
    if role == "hangs" {
        let (has_begun, begins) = std::sync::mpsc::channel();
        runtime.spawn_blocking(move || {
            has_begun.send(()).unwrap();
            std::thread::sleep(HANGS);
        });
        begins.recv().unwrap();
        println!("hangs");
        // Which waits for that one.
        drop(runtime);
    }
    if let Err(error) = &outcome {
        println!("error: {error:?}");
    }
    std::process::exit(outcome.map_or_else(|error| error.exit_code().into(), |()| 0));
}

async fn serve(role: &str) -> Result<(), Error> {
    let mut builder = Platform::builder("parcel", Contract::V1);
    if role == "hasty" {
        let short = Deviation::DrainInFlight(Duration::from_secs(1));
        builder = builder.deviate(short, "a test that waits for the end of it", jiff::civil::date(2999, 1, 1));
    }
    if role == "departed" {
        builder = builder.deviate(Deviation::Connections(500), "one that nobody ended", jiff::civil::date(2020, 1, 1));
    }
    let platform = builder.start().await?;
    if role == "young" {
        let check = Check { name: "young".into(), ready: false, state: "cold", age: None, detail: None };
        platform.lifecycle().health().register(move || Some(check.clone()));
    }
    if role == "first" {
        println!("started");
        std::future::pending::<()>().await;
    }
    let (life, for_sockets) = (platform.lifecycle().clone(), platform.lifecycle().clone());
    let routes = Router::new()
        .route("/", get(async || std::process::id().to_string()))
        .route("/handed-over", get(handed_over))
        .route(
            "/slow/{milliseconds}",
            get(async |InPath(milliseconds): InPath<u64>| {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                "slow"
            }),
        )
        .route(
            "/socket",
            get(async move |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(move |socket| echo(socket, Some(for_sockets)))
            }),
        )
        .route("/deaf-socket", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(|socket| echo(socket, None))))
        .route("/until-draining", get(async move || life.reached(Phase::Draining).await));
    platform.serve(routes).await
}

/// What is left in the environment of what was handed over, and what a program has that this one starts.
async fn handed_over() -> String {
    let config = Config::from_env().unwrap();
    let left = ["LISTEN_PID", "LISTEN_FDS"].map(|name| config.other.get(name).is_some());
    let script = "test -e /proc/self/fd/3 && echo open || echo closed";
    let started = Command::new("sh").args(["-c", script]).output().unwrap();
    format!("{left:?} {}", String::from_utf8_lossy(&started.stdout))
}

/// Sends back what it is sent; and, if it is told of the drain, says good-bye when it begins.
async fn echo(mut socket: WebSocket, told: Option<Lifecycle>) {
    let draining = async {
        match told {
            Some(life) => life.reached(Phase::Draining).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(draining);
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => socket.send(Message::Text(text)).await.unwrap(),
                Some(Ok(_)) => {}
                _ => return,
            },
            () = &mut draining => {
                let away = CloseFrame { code: close_code::AWAY, reason: "about to stop".into() };
                return socket.send(Message::Close(Some(away))).await.unwrap();
            }
        }
    }
}
