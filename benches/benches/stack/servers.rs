//! The servers, each in a process of its own, with a thread for each processor as `#[tokio::main]` has it; it says on standard output
//! where it is.
#![allow(clippy::disallowed_methods, reason = "the servers are told by the bench what to serve, and end with it")]

use std::io::{Read as _, Write as _};
use std::path::Path;

use axum::Router;
use axum::routing::any;
use halfbyte::core::lifecycle::Phase;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::by_hand;
use crate::product::{self, Failure};

/// What a server says of itself.
#[derive(Clone, Deserialize, Serialize)]
pub struct Hello {
    pub port: u16,
    pub admin_port: u16,
    pub token: String,
    pub issuer: String,
    pub keys: String,
}

/// Where the product keeps its state.
pub const FOLDER: &str = "BENCH_FOLDER";

/// What the product said, for the stack that takes its tokens.
pub const PRODUCT: &str = "BENCH_PRODUCT";

/// Serves as `which` until standard input is closed.
pub fn serve(which: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    std::thread::spawn(|| {
        _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime.block_on(async {
        match which {
            "bare" => others(Router::new().route("/labels", any(async || "a label"))).await,
            "by-hand" => others(by_hand::routes(&variable(PRODUCT)?).await?).await,
            _ => full(Path::new(&variable(FOLDER)?)).await,
        }
    })
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

async fn others(routes: Router) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    say(&Hello { port, admin_port: 0, token: String::new(), issuer: String::new(), keys: String::new() })?;
    Ok(axum::serve(listener, by_hand::with_peers(routes)).await?)
}

async fn full(folder: &Path) -> Result<(), Failure> {
    let platform = product::start(folder, None).await?;
    let routes = product::routes(&platform)?;
    let serving = tokio::spawn(platform.clone().serve(routes));
    platform.lifecycle().reached(Phase::Ready).await;
    let (port, admin_port) = (platform.address().port(), platform.admin_address().port());
    let issuer = platform.identity().embedded().ok_or("no embedded issuer")?.issuer().to_owned();
    let ready = Hello { port, admin_port, token: String::new(), issuer, keys: String::new() };
    // Told before there are customers: that is what is waited for when the start is measured.
    say(&ready)?;
    let keys = product::get(&platform, "/oauth/jwks").await?;
    say(&Hello { token: product::sign_in(&platform).await?, keys, ..ready })?;
    Ok(serving.await??)
}

fn say(hello: &Hello) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(hello)?)?;
    Ok(out.flush()?)
}
