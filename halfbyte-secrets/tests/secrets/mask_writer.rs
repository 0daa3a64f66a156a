//! What writers of `tracing-subscriber` are given of live secrets: nothing.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use halfbyte_core::fingerprint::register;
use halfbyte_secrets::firewall::{MaskWriter, Masked};
use tracing::Level;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::writer::MakeWriterExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// Keeps what is written, and counts the flushes.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>, Arc<AtomicUsize>);

impl Sink {
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().expect("not poisoned"))).expect("text")
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_writer_masks_whole_lines_however_they_come_apart() {
    let _known = register(b"a-secret-in-pieces");
    let sink = Sink::default();
    let mut writer = Masked::new(sink.clone());
    for piece in ["<a-secret-", "in-pieces>", "\n<a-secret-in-pieces>\nrest a-sec", "ret-in-pieces"] {
        writer.write_all(piece.as_bytes()).expect("written");
    }
    assert_eq!(sink.take(), "<[REDACTED]>\n<[REDACTED]>\n");
    writer.flush().expect("flushed");
    assert_eq!(sink.1.load(Ordering::Relaxed), 1);
    assert_eq!(sink.take(), "rest [REDACTED]");
    writer.write_all(b"a-secret-in-pieces").expect("written");
    drop(writer);
    assert_eq!(sink.take(), "[REDACTED]");
    // A line without an end is not held for ever.
    let mut writer = Masked::new(sink.clone());
    writer.write_all(&vec![b'x'; 1 << 20]).expect("written");
    assert_eq!(sink.take(), "");
    writer.write_all(b"x").expect("written");
    assert_eq!(sink.take().len(), (1 << 20) + 1);
}

#[test]
fn a_masked_line_goes_where_its_level_belongs() {
    let _known = register(b"a-secret-by-level");
    let (info, error) = (Sink::default(), Sink::default());
    let writers = {
        let (info, error) = (info.clone(), error.clone());
        (move || error.clone()).with_max_level(Level::ERROR).or_else(move || info.clone())
    };
    let layer = fmt::layer().with_ansi(false).with_writer(MaskWriter::new(writers));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!("a-secret-by-level");
        tracing::error!("no a-secret-by-level");
    });
    let (info, error) = (info.take(), error.take());
    assert!(info.contains(" INFO ") && info.ends_with(": [REDACTED]\n"), "{info}");
    assert!(error.contains("ERROR ") && error.ends_with(": no [REDACTED]\n"), "{error}");
}
