//! node `oidc-provider`: an OpenID provider that we did not write, run by small scripts of ours.

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

/// What runs it; the first is what `node` is given.
const SCRIPTS: [(&str, &str); 6] = [
    ("server.mjs", include_str!("../../backends/oidc-provider/server.mjs")),
    ("provider.mjs", include_str!("../../backends/oidc-provider/provider.mjs")),
    ("token_exchange.mjs", include_str!("../../backends/oidc-provider/token_exchange.mjs")),
    ("people.mjs", include_str!("../../backends/oidc-provider/people.mjs")),
    ("keys.mjs", include_str!("../../backends/oidc-provider/keys.mjs")),
    ("store.mjs", include_str!("../../backends/oidc-provider/store.mjs")),
];

fn launch(installed: &Path) -> Result<Launch> {
    for (name, text) in SCRIPTS {
        // Node finds packages from where a script is, so the scripts go beside them.
        let script = installed.join(name);
        fs::write(&script, text).context(format_args!("cannot write {}", script.display()))?;
    }
    let server = installed.join(SCRIPTS[0].0);
    let [port] = ports::free()?;
    let mut command = Command::new("node");
    command.arg(&server).arg(port.to_string());
    Ok(Launch {
        command,
        ready: Ready::Http { port, path: "/test/health" },
        env: vec![
            ("HB_TEST_OIDC_ISSUER", format!("http://127.0.0.1:{port}")),
            // For tests that start one of their own, to stop it when they like.
            ("HB_TEST_OIDC_SERVER", server.display().to_string()),
        ],
        set_up: None,
    })
}
