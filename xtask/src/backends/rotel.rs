//! `rotel`: an OTLP collector, exporting to a sink that the test process owns.
//!
//! A collector must know its sink when it starts, so a port is chosen for the sink here and left free: the test
//! that wants to see what came through binds a receiver on it. What arrives with no receiver bound is dropped.

use std::path::Path;
use std::process::Command;

use super::install::Package;
use super::ports;
use super::ready::Ready;
use super::{Backend, Launch};
use crate::error::Result;

pub const BACKEND: Backend = Backend {
    name: "rotel",
    role: "an OTLP collector",
    package: Package::PyPi { name: "rotel", version: "0.0.1a15" },
    launch,
};

fn launch(installed: &Path) -> Result<Launch> {
    let [grpc, http, sink] = ports::free()?;
    let mut command = Command::new(installed.join("rotel/rotel-agent"));
    command
        .arg("start")
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
        .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
        .args(["--otlp-exporter-endpoint", &format!("http://127.0.0.1:{sink}")])
        .args(["--batch-timeout", "200ms"]);
    Ok(Launch {
        command,
        ready: Ready::Listening(vec![grpc, http]),
        env: vec![
            ("HB_TEST_OTLP_HTTP", format!("http://127.0.0.1:{http}")),
            ("HB_TEST_OTLP_GRPC", format!("http://127.0.0.1:{grpc}")),
            ("HB_TEST_OTLP_SINK_ADDR", format!("127.0.0.1:{sink}")),
        ],
        set_up: None,
    })
}
