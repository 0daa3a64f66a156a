//! A PostgreSQL of a test's own, which it can stop and start.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Stopped when it is dropped.
pub struct Server {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    as_nobody: bool,
}

impl Server {
    pub fn start() -> Self {
        let programs = PathBuf::from(crate::server("HB_TEST_POSTGRES_BIN"));
        let port = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound").port();
        let folder = tempfile::tempdir().expect("a folder");
        let id = Command::new("id").arg("-u").output().expect("coreutils has id");
        let as_nobody = id.stdout.starts_with(b"0\n");
        if as_nobody {
            run(Command::new("chown").arg("nobody:nogroup").arg(folder.path()));
        }
        let server = Self { programs, folder, port, as_nobody };
        let options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"];
        run(server.program("initdb").arg("-D").arg(server.cluster()).args(options));
        server.up();
        server
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends it without letting anything finish, and starts it again after `pause`.
    pub fn restart(&self, pause: Duration) {
        self.down();
        std::thread::sleep(pause);
        self.up();
    }

    /// Ends it without letting anything finish.
    pub fn down(&self) {
        run(self.program("pg_ctl").arg("-D").arg(self.cluster()).args(["-m", "immediate", "-w", "stop"]));
    }

    pub fn up(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=100",
            self.port
        );
        let log = self.log_file();
        // Not by `output`: the server keeps the pipes of who started it.
        let mut start = self.program("pg_ctl");
        start.arg("-D").arg(self.cluster()).arg("-l").arg(log).args(["-w", "-o", &options, "start"]);
        assert!(start.stdout(std::process::Stdio::null()).status().expect("started").success());
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "it does not listen");
        }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).expect("its log")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if self.as_nobody {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(Path::new("/"));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.program("pg_ctl").arg("-D").arg(self.cluster()).args(["-m", "immediate", "-w", "stop"]).output();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
