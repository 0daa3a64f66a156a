//! The products as processes of their own, as they are in production.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::Outcome;

/// A running product. Dropping it kills it.
pub struct Product {
    pub name: &'static str,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    environment: BTreeMap<String, String>,
    log: PathBuf,
}

impl Product {
    /// Starts a product on free ports and waits until it answers, ready or not; answers it and how long that took.
    pub async fn start(name: &'static str, folder: &Path, environment: &[(&str, &str)]) -> Outcome<(Self, Duration)> {
        let (public, admin) = (free_port()?, free_port()?);
        let mut all = BTreeMap::from([
            ("HALFBYTE_HOME".to_owned(), folder.join("home").display().to_string()),
            ("HALFBYTE_LISTEN".to_owned(), public.to_string()),
            ("HALFBYTE_ADMIN_LISTEN".to_owned(), admin.to_string()),
        ]);
        all.extend(environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let log = folder.join(format!("{name}-{}.log", public.port()));
        let child = spawn(name, &all, &log)?;
        let mut product = Self { name, public, admin, child, environment: all, log };
        let took = product.wait_until_serving().await?;
        Ok((product, took))
    }

    /// Starts another process of the same product beside this one, on ports of its own.
    pub async fn replica(&self, folder: &Path) -> Outcome<(Self, Duration)> {
        let own = |key: &str| key.starts_with("HALFBYTE_");
        let environment: Vec<_> =
            self.environment.iter().filter(|(key, _)| !own(key)).map(|(key, value)| (&**key, &**value)).collect();
        let (mut replica, took) = Self::start(self.name, folder, &environment).await?;
        replica.wait_until_ready().await?;
        Ok((replica, took))
    }

    /// Starts the product again where it was.
    pub async fn restart(&mut self) -> Outcome<Duration> {
        self.child = spawn(self.name, &self.environment, &self.log)?;
        self.wait_until_ready().await
    }

    /// Runs a product that is expected to refuse to start; answers how it ended and what it printed.
    pub fn run_to_end(name: &str, folder: &Path, environment: &[(&str, &str)]) -> Outcome<(ExitStatus, String)> {
        let output = command(name)?
            .env("HALFBYTE_HOME", folder.join("home"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()?;
        Ok((output.status, String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public)
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Its process, as the system has it.
    #[allow(dead_code, reason = "the soak looks at its memory, the tour does not")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process with no chance to do anything about it.
    pub fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end, as a supervisor does.
    pub fn terminate(&self) -> Outcome {
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err("SIGTERM could not be sent".into()) }
    }

    /// Waits for the process to end; answers its exit code.
    pub async fn ended(&mut self, within: Duration) -> Outcome<Option<i32>> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            if began.elapsed() > within {
                return Err(format!("{} did not end within {within:?}", self.name).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_until_ready(&mut self) -> Outcome<Duration> {
        let url = self.admin_url("/readyz");
        self.wait_for("is not ready", async || {
            reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await
    }

    async fn wait_until_serving(&mut self) -> Outcome<Duration> {
        let public = self.public;
        self.wait_for("does not listen", async || TcpStream::connect(public).await.is_ok()).await
    }

    async fn wait_for(&mut self, lacking: &str, there: impl AsyncFn() -> bool) -> Outcome<Duration> {
        let began = Instant::now();
        loop {
            if there().await {
                return Ok(began.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended at its start: {status}", self.name).into());
            }
            if began.elapsed() > Duration::from_secs(15) {
                return Err(format!("{} {lacking} after 15 s", self.name).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let _it_may_have_ended = self.kill();
    }
}

fn command(name: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name);
    // What the person who runs the tour has set for other products is not meant for these.
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| key.starts_with("HALFBYTE_") || key.starts_with("OTEL_")) {
            command.env_remove(key);
        }
    }
    Ok(command)
}

fn spawn(name: &str, environment: &BTreeMap<String, String>, log: &Path) -> Outcome<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let child = command(name)?
        .envs(environment)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}

fn free_port() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Prints the end of each product's log, for a tour that failed.
pub fn show_logs(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log"))
    {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        println!("\n── the end of {} ──", path.file_name().unwrap_or_default().to_string_lossy());
        let lines: Vec<_> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(30)..] {
            println!("{line}");
        }
    }
}
