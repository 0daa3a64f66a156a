//! A provider of one test, to be stopped and started again at will.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Provider;

const START: Duration = Duration::from_secs(30);

/// It ends with the value, and with the process of the test however that ends.
pub struct Instance {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Instance {
    /// A provider that does not run yet; its address is known and nobody answers there.
    pub fn stopped() -> Self {
        Self { port: free_port(), folder: tempfile::tempdir().unwrap(), process: None }
    }

    pub async fn started() -> Self {
        let mut instance = Self::stopped();
        instance.start().await;
        instance
    }

    pub fn provider(&self) -> Provider {
        Provider::at(format!("http://127.0.0.1:{}", self.port))
    }

    /// Starts it at the same address and with the same keys as before.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = self.folder.path().join("log");
        let process = Command::new("node")
            .arg(crate::server("HB_TEST_OIDC_SERVER"))
            .arg(self.port.to_string())
            .arg("--keys")
            .arg(self.keys())
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn();
        let process = self.process.insert(process.unwrap());
        let health = format!("http://127.0.0.1:{}/test/health", self.port);
        let begun = Instant::now();
        while !reqwest::get(&health).await.is_ok_and(|response| response.status() == 200) {
            let ended = process.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > START {
                panic!("the provider does not start ({ended:?}): {}", fs::read_to_string(&log).unwrap());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it without a goodbye.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// When it starts again, it has other keys.
    pub fn lose_keys(&self) {
        fs::remove_file(self.keys()).unwrap();
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Below what systems hand out for port 0: nobody gets it while the provider is away.
pub fn free_port() -> u16 {
    let random = || u16::try_from(RandomState::new().hash_one(()) % 17_000).unwrap();
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(|| 15_000 + random()).take(200).find(free).expect("a free port")
}
