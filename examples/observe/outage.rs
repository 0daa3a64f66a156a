//! The collector dies under load, and comes back.

use std::fs;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use halfbyte::observe::SignalStats;
use tokio::time::sleep;

use crate::{Outcome, Scene, check, heading};

const AWAY: Duration = Duration::from_secs(3);
const CUSTOMERS: usize = 4;

pub async fn show(scene: &Scene<'_>) -> Outcome {
    heading("The collector is killed under load, for three seconds; the books of the spans");
    scene.flush().await?;
    // One span of this name has not been sampled, and is none of these.
    let (done, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let customer = async || {
        while !done.load(Ordering::Relaxed) {
            check(scene.shop.get("/browse").await? == 200, "a customer noticed")?;
            answered.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(8)).await;
        }
        Outcome::Ok(())
    };
    let customers = async {
        let [one, two, three, four]: [_; CUSTOMERS] = std::array::from_fn(|_| customer());
        tokio::try_join!(one, two, three, four)
    };
    let script = async {
        watch(scene, "there", Duration::from_millis(800), |_| false).await?;
        scene.collector.close().await;
        watch(scene, "KILLED", AWAY, |_| false).await?;
        let on_disk = bytes_in(&scene.home.join("telemetry/shop/traces"))?;
        println!("On disk are {} KiB of spans.", on_disk / 1024);
        check(on_disk > 0, "nothing is on disk")?;
        scene.collector.open().await?;
        // It is asked again after a pause, which has grown with each failure.
        watch(scene, "back", Duration::from_secs(6), |books| books.spooled == 0).await?;
        done.store(true, Ordering::Relaxed);
        Ok(())
    };
    tokio::try_join!(customers, script)?;
    scene.flush().await?;
    watch(scene, "flushed", Duration::ZERO, |_| true).await?;

    let answered = answered.into_inner();
    let received = scene.collector.received();
    let arrived = received.spans.iter().filter(|span| span.name == "GET /browse").count();
    println!("{answered} requests were answered, {arrived} of their spans are at the collector.");
    let books = scene.telemetry.stats().traces;
    check(arrived as u64 == answered, "a span is missing, or there twice")?;
    check(books.exported == books.created && books.dropped.total() == 0, "the books say that something is lost")
}

/// Shows the books of the spans for a while, or until it is enough. They must balance at every look.
async fn watch(scene: &Scene<'_>, collector: &str, time: Duration, enough: fn(&SignalStats) -> bool) -> Outcome {
    let (start, live) = (Instant::now(), stdout().is_terminal());
    loop {
        let books = scene.telemetry.stats().traces;
        check(books.is_balanced(), "the books do not balance")?;
        let over = start.elapsed() >= time || enough(&books);
        let (waiting, dropped) = (books.queued + books.in_flight, books.dropped.total());
        let SignalStats { created, exported, spooled, .. } = books;
        let line =
            format!("created {created:>4} = exported {exported:>4} + spooled {spooled:>4} + queued {waiting:>3}");
        // A terminal sees it move; a file gets a line a second.
        let (begin, end) = (if live { "\r" } else { "" }, if live && !over { "" } else { "\n" });
        print!("{begin}{collector:8}{line} + dropped {dropped}{end}");
        stdout().flush()?;
        if over {
            return Ok(());
        }
        let pause = Duration::from_millis(if live { 100 } else { 1000 });
        sleep(pause.min(time.saturating_sub(start.elapsed()))).await;
    }
}

fn bytes_in(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
