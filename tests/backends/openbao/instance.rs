//! A server of one test, to be sealed, stopped and started again at will.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::bao::{Bao, text};
use crate::oidc::free_port;

const START: Duration = Duration::from_secs(30);

/// It ends with the value.
pub struct Instance {
    pub bao: Bao,
    folder: TempDir,
    process: Option<Child>,
    key: String,
}

impl Instance {
    /// One that runs, initialized and unsealed, with a key-value engine at `secret` and AppRole.
    pub async fn started() -> Self {
        let (folder, port, cluster) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        fs::create_dir(folder.path().join("raft")).unwrap();
        let config = format!(
            r#"
            storage "raft" {{
              path = "{data}"
              node_id = "test"
              performance_multiplier = 1
            }}
            listener "tcp" {{
              address = "127.0.0.1:{port}"
              tls_disable = true
            }}
            api_addr = "http://127.0.0.1:{port}"
            cluster_addr = "http://127.0.0.1:{cluster}"
            "#,
            data = folder.path().join("raft").display(),
        );
        fs::write(folder.path().join("server.hcl"), config).unwrap();
        let bao = Bao::at(format!("http://127.0.0.1:{port}"), String::new());
        let mut instance = Self { bao, folder, process: None, key: String::new() };
        instance.start().await;
        let made = instance.bao.post("sys/init", json!({ "secret_shares": 1, "secret_threshold": 1 })).await;
        instance.key = text(&made["keys_base64"][0]);
        instance.bao.token = text(&made["root_token"]);
        instance.unseal().await;
        instance.bao.mount_kv("secret").await;
        instance.bao.post("sys/auth/approle", json!({ "type": "approle" })).await;
        instance
    }

    /// Starts it at the same address and with the same data as before; sealed.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = self.folder.path().join("log");
        let config = format!("-config={}", self.folder.path().join("server.hcl").display());
        let mut command = Command::new(crate::server("HB_TEST_OPENBAO_BIN"));
        command
            .args(["server", &config])
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let begun = Instant::now();
        let health = format!("{}/v1/sys/seal-status", self.bao.url);
        while !reqwest::get(&health).await.is_ok_and(|response| response.status() == 200) {
            assert!(begun.elapsed() < START, "it does not start: {}", fs::read_to_string(&log).unwrap());
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

    pub async fn seal(&self) {
        self.bao.post("sys/seal", json!({})).await;
    }

    pub async fn unseal(&self) {
        self.bao.post("sys/unseal", json!({ "key": self.key })).await;
        let begun = Instant::now();
        while self.bao.ask(Method::GET, "sys/health", Value::Null).await.0 != 200 {
            assert!(begun.elapsed() < START, "it is unsealed and does not serve");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop();
    }
}
