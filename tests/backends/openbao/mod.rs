//! The provider for OpenBao against the real one: rotation, leases in a real database, outages, logins.

mod bao;
mod conforming;
mod instance;
mod kept;
mod lent;
mod logins;
mod outages;

use std::time::Duration;

use halfbyte::core::{Clock, Lifecycle};
use halfbyte::secrets::live::Policy;
use halfbyte::secrets::openbao::OpenBao;
use halfbyte::secrets::{Ask, Error, Name, Provider as _, Reading, Stage};
use tokio::time::{sleep, timeout};

use self::bao::Bao;
use self::instance::Instance;

fn lifecycle() -> Lifecycle {
    Lifecycle::new(Clock::system())
}

/// Looks often, so that a rotation takes a moment and not a minute.
fn quick() -> Policy {
    let often = Duration::from_millis(20);
    Policy { fresh_for: often, backoff: often, max_backoff: Duration::from_millis(200), ..Policy::default() }
}

async fn read(openbao: &OpenBao, name: &str, stage: Stage) -> Result<Reading, Error> {
    openbao.read(Ask::current(&Name::new(name).unwrap()).stage_of(stage)).await
}

async fn value(openbao: &OpenBao, name: &str) -> Result<String, Error> {
    let reading = read(openbao, name, Stage::Current).await?;
    Ok(String::from_utf8(reading.value().unwrap().to_vec()).unwrap())
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !done().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), reached).await.unwrap_or_else(|_| panic!("never: {what}"));
}
