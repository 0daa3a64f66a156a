//! A NATS server of a test's own, which it can configure anew and restart.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Stopped when it is dropped.
pub struct NatsServer {
    program: String,
    folder: TempDir,
    port: u16,
    process: Child,
}

impl NatsServer {
    /// With JetStream, and `settings` in its configuration.
    pub fn start(settings: &str) -> Self {
        let program = crate::server("HB_TEST_NATS_SERVER");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound").local_addr().expect("bound").port();
        let folder = tempfile::tempdir().expect("a folder");
        configure(&folder, settings);
        let process = run(&program, &folder, port);
        Self { program, folder, port, process }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Takes other settings over without a restart.
    pub fn reload(&self, settings: &str) {
        configure(&self.folder, settings);
        let signal = format!("reload={}", self.process.id());
        let done = Command::new(&self.program).args(["--signal", &signal]).status().expect("started");
        assert!(done.success(), "{done}");
    }

    /// Ends it, and starts it with other settings.
    pub fn restart(&mut self, settings: &str) {
        self.stop();
        configure(&self.folder, settings);
        self.process = run(&self.program, &self.folder, self.port);
    }

    fn stop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn configure(folder: &TempDir, settings: &str) {
    let store = folder.path().join("store");
    let text = format!("jetstream {{ store_dir: {:?} }}\n{settings}\n", store.display().to_string());
    std::fs::write(folder.path().join("server.conf"), text).expect("written");
}

fn run(program: &str, folder: &TempDir, port: u16) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).expect("a log");
    let process = Command::new(program)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-c"])
        .arg(folder.path().join("server.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("started");
    let began = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}
