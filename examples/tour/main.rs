//! A tour of the platform: starts two products and drives them over real HTTP, through refusals, policies, rotations,
//! a shared quota, a crash and a drain, and has both prove that they conform. Exits with 1 if anything went otherwise than it says.
//!
//! `cargo run --example tour --features conformance`; a database password is rotated too where `HB_TEST_POSTGRES_URL` is set, as
//! `cargo xtask backends up` prints it. With `-- --with-postgres` the tour fails without.
#![allow(clippy::disallowed_methods, reason = "the tour is not a product: it starts some")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

mod access;
mod company;
mod conformance;
mod credentials;
mod database;
mod drain;
mod http;
mod load;
mod process;
mod refusals;
mod replicas;
mod rotation;
mod screen;
mod trace;

#[path = "../clinic/main.rs"]
mod clinic;
#[path = "../parcel/main.rs"]
mod parcel;
#[path = "../../tests/conformance/products.rs"]
mod products;

use company::Company;
use screen::Screen;

/// A step that went otherwise than it should says how.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where a PostgreSQL is, and who may make roles there.
const POSTGRES: &str = "HB_TEST_POSTGRES_URL";

fn main() -> ExitCode {
    // The tour starts itself again as each product, so that there is nothing to build or to find.
    match std::env::args().nth(1).as_deref() {
        Some("parcel") => parcel::main(),
        Some("clinic") => clinic::main(),
        Some("--with-postgres") if std::env::var_os(POSTGRES).is_none() => {
            eprintln!("error: {POSTGRES} is not set: run `cargo xtask backends up` and paste what it prints");
            ExitCode::FAILURE
        }
        _ => tour(),
    }
}

#[tokio::main]
async fn tour() -> ExitCode {
    let mut screen = Screen::new();
    let folder = match tempfile::Builder::new().prefix("halfbyte-tour-").tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("error: no folder for the state: {error}");
            return ExitCode::FAILURE;
        }
    };
    screen.title("HalfByte: two products, one platform");
    let started = Instant::now();
    let outcome = walk(&mut screen, folder.path()).await;
    if let Err(error) = &outcome {
        screen.failed(error.as_ref());
        process::show_logs(folder.path());
    }
    screen.summary(started.elapsed(), outcome.is_ok());
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn walk(screen: &mut Screen, folder: &Path) -> Outcome {
    let mut company = Company::found(screen, folder).await?;
    refusals::show(screen, &mut company).await?;
    access::show(screen, &company).await?;
    credentials::show(screen, &company).await?;
    trace::show(screen, &company).await?;
    rotation::show(screen, &company).await?;
    database::show(screen, &company, std::env::var(POSTGRES).ok().as_deref()).await?;
    replicas::show(screen, &company).await?;
    load::show_crash(screen, &mut company).await?;
    drain::show(screen, &mut company).await?;
    conformance::show(screen).await
}
