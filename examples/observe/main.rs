//! Telemetry alone: a small shop, a collector in the same process, and what of the one arrives at the other: a trace, a
//! histogram, no secrets, a panic, an error that nobody sampled, what happened while the collector was away, and an
//! audit log. Exits with 1 if anything goes otherwise than it says.
//!
//! `cargo run --example observe`, and with `2>/dev/null` without the shop's own log

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use halfbyte::core::ProductId;
use halfbyte::core::config::Config;
use halfbyte::observe::testing::Receiver;
use halfbyte::observe::{Settings, Telemetry};

mod audit;
mod failures;
mod histogram;
mod outage;
mod secrets;
mod shop;
mod waterfall;

/// A step that goes otherwise than it says ends the tour.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What every step needs.
pub struct Scene<'a> {
    telemetry: &'a Telemetry,
    collector: &'a Receiver,
    shop: &'a shop::Shop,
    home: &'a Path,
}

#[tokio::main]
async fn main() -> Outcome {
    let (started, folder) = (Instant::now(), tempfile::tempdir()?);
    let home = folder.path().join("home");
    // A product would say Config::from_env(), and this would stand in its environment.
    let collector = Receiver::start().await?;
    let config = Config::parse([
        ("HALFBYTE_HOME", home.display().to_string()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "100".to_owned()),
        // A line for each request is good to have, and too much for a screen.
        ("RUST_LOG", "info,halfbyte::access=warn".to_owned()),
    ])?;
    let telemetry = halfbyte::observe::init(Settings::new(&ProductId::new("shop")?, "1.0.0", &config))?;
    let shop = shop::open().await?;
    println!("The shop is at {}, and its telemetry goes to {}.", shop.url, collector.endpoint());

    let scene = Scene { telemetry: &telemetry, collector: &collector, shop: &shop, home: &home };
    waterfall::show(&scene).await?;
    histogram::show(&scene).await?;
    secrets::show(&scene).await?;
    failures::panic(&scene).await?;
    failures::unsampled(&scene).await?;
    outage::show(&scene).await?;
    audit::show(&scene)?;

    heading("The end");
    drop(shop);
    let flushed = telemetry.shutdown(Duration::from_secs(5)).await;
    println!("{flushed}");
    for (signal, books) in
        [("spans", &flushed.stats().traces), ("data points", &flushed.stats().metrics), ("logs", &flushed.stats().logs)]
    {
        println!("{:>5} {signal} made, {} sent, {} lost", books.created, books.exported, books.dropped.total());
        check(books.is_balanced() && books.created == books.exported, "the books do not balance")?;
    }
    check(flushed.is_complete(), "something was not sent")?;
    println!("\nEverything as promised, in {:.1} s.", started.elapsed().as_secs_f64());
    Ok(())
}

impl Scene<'_> {
    /// Everything that there is reaches the collector.
    pub async fn flush(&self) -> Outcome {
        let flushed = self.telemetry.flush(Duration::from_secs(10)).await;
        check(flushed.is_complete(), &flushed.to_string())
    }
}

/// Begins a step.
pub fn heading(text: &str) {
    println!("\n{text}\n{}", "─".repeat(text.chars().count()));
}

/// That a step went as it should.
pub fn check(good: bool, otherwise: &str) -> Outcome {
    if good { Ok(()) } else { Err(otherwise.into()) }
}
