//! `moto`: AWS as far as tests go, with the staging labels of Secrets Manager. It keeps everything in memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::install::Package;
use super::ready::Ready;
use super::{Backend, Env, Launch, http, ports};
use crate::error::{Context, Error, Result};

pub const BACKEND: Backend = Backend {
    name: "moto",
    role: "AWS Secrets Manager",
    package: Package::PyPiLocked { name: "moto", lock: include_str!("../../backends/moto/requirements.txt") },
    launch,
};

/// The first request to a service loads it.
const FIRST: Duration = Duration::from_secs(15);
/// What tells moto which service is asked; it checks no signature.
const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/secretsmanager/aws4_request";

fn launch(installed: &Path) -> Result<Launch> {
    let [port] = ports::free()?;
    let mut command = Command::new("python3");
    command
        // Nothing of what the machine's Python has besides.
        .args(["-S", "-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .env("PYTHONPATH", installed)
        // Python looks where it is started before it looks there.
        .current_dir(installed)
        // Nor anything of a person's AWS.
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_DEFAULT_PROFILE")
        .env("AWS_CONFIG_FILE", "/dev/null");
    Ok(Launch {
        command,
        ready: Ready::Http { port, path: "/moto-api/data.json" },
        env: vec![("HB_TEST_MOTO_URL", format!("http://127.0.0.1:{port}"))],
        set_up: Some(Box::new(move || list_secrets(port))),
    })
}

/// Asks the service that tests use, which the server as a whole may be without.
fn list_secrets(port: u16) -> Result<Env> {
    let headers = [
        ("Authorization", CREDENTIAL),
        ("Content-Type", "application/x-amz-json-1.1"),
        ("X-Amz-Target", "secretsmanager.ListSecrets"),
    ];
    let answer = http::send(port, "POST /", &headers, "{}", FIRST).context("cannot ask it for ListSecrets")?;
    match answer.status {
        200 => Ok(Vec::new()),
        status => Err(Error::new(format!("ListSecrets is answered with {status}: {}", answer.body.trim_end()))),
    }
}
