//! node `oidc-provider`: an OpenID provider that we did not write, run by a small script of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::install::Package;
use super::ports;
use super::ready::Ready;
use super::{Backend, Launch};
use crate::error::{Context, Result};

pub const BACKEND: Backend = Backend {
    name: "oidc-provider",
    role: "an OpenID provider",
    package: Package::Npm {
        name: "oidc-provider",
        manifest: include_str!("../../backends/oidc-provider/package.json"),
        lock: include_str!("../../backends/oidc-provider/package-lock.json"),
    },
    launch,
};

const SERVER: &str = include_str!("../../backends/oidc-provider/server.mjs");

fn launch(installed: &Path) -> Result<Launch> {
    // Node finds packages from where the script is, so the script goes beside them.
    let script = installed.join("server.mjs");
    fs::write(&script, SERVER).context(format_args!("cannot write {}", script.display()))?;
    let [port] = ports::free()?;
    let mut command = Command::new("node");
    command.arg(script).arg(port.to_string());
    Ok(Launch {
        command,
        ready: Ready::Http { port, path: "/test/health" },
        env: vec![("HB_TEST_OIDC_ISSUER", format!("http://127.0.0.1:{port}"))],
    })
}
