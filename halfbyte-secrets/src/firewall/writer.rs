use std::fmt;
use std::io::{self, Write};

use halfbyte_core::fingerprint::{self, mask_bytes};
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// How much of a line is held back until the end of it comes.
const HELD: usize = 1 << 20;

/// Makes writers that mask live secrets in what is written as bytes.
///
/// ```
/// use halfbyte_secrets::firewall::MaskWriter;
/// # use tracing_subscriber::layer::SubscriberExt as _;
///
/// let layer = tracing_subscriber::fmt::layer().with_writer(MaskWriter::new(std::io::stderr));
/// # tracing_subscriber::registry().with(layer);
/// ```
///
/// It is for layers whose output is all that there is to mask; [`MaskLayer`](super::MaskLayer) masks before anything is
/// written, and so knows one value from the next: here a secret in a field is found as the format escaped it, if it was by
/// JSON or `Debug`. Colours in the midst of a secret hide it.
pub struct MaskWriter<M>(M);

impl<M> MaskWriter<M> {
    /// Masks what goes to `writers`.
    pub fn new(writers: M) -> Self {
        Self(writers)
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for MaskWriter<M> {
    type Writer = Masked<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Masked::new(self.0.make_writer())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Masked::new(self.0.make_writer_for(metadata))
    }
}

impl<M> fmt::Debug for MaskWriter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskWriter").finish_non_exhaustive()
    }
}

/// Writes whole lines, without live secrets.
///
/// What is written up to the end of a line is masked in one piece. The beginning of a line is held back until its end comes,
/// until it is [flushed](Write::flush) or dropped, or until it is a MiB; a secret that lies across such a place is not found.
pub struct Masked<W: Write> {
    to: W,
    held: Zeroizing<Vec<u8>>,
}

impl<W: Write> Masked<W> {
    /// Masks what goes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, held: Zeroizing::default() }
    }

    fn release(&mut self) -> io::Result<()> {
        let wrote = self.to.write_all(&mask_bytes(&self.held));
        self.held.zeroize();
        wrote
    }
}

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            if !fingerprint::is_any() {
                return self.to.write(bytes);
            }
            if bytes.ends_with(b"\n") {
                self.to.write_all(&mask_bytes(bytes))?;
                return Ok(bytes.len());
            }
        }
        self.held.extend_from_slice(bytes);
        if bytes.contains(&b'\n') {
            let rest = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let rest = Zeroizing::new(self.held.split_off(rest));
            let wrote = self.release();
            self.held = rest;
            wrote?;
        } else if self.held.len() > HELD {
            self.release()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.release()?;
        self.to.flush()
    }
}

impl<W: Write> Drop for Masked<W> {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            let _nobody_to_tell = self.release();
        }
    }
}

impl<W: Write> fmt::Debug for Masked<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masked").finish_non_exhaustive()
    }
}
