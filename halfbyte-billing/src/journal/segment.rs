use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// One file of a journal: appended to by single writes, emptied as a whole.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    /// The length up to the last whole record.
    len: u64,
    /// Bytes of a failed write may stand after `len`; they go before anything else is written.
    soiled: bool,
}

impl Segment {
    /// Makes the file, readable by its owner only.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)?;
        Ok(Self { file, len: 0, soiled: false })
    }

    #[cfg(test)]
    pub(super) fn of(file: File) -> Self {
        Self { file, len: 0, soiled: false }
    }

    /// Appends `record` by one write(2): it is there as a whole, or not at all.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if self.soiled {
            self.cut()?;
        }
        let written = loop {
            match self.file.write(record) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        if written == record.len() {
            self.len += u64::try_from(written).unwrap_or(0);
            return Ok(());
        }
        // A short write is how a full disk begins; half a record must not stand before the next one.
        self.soiled = true;
        let _tried_again_before_the_next_write = self.cut();
        Err(io::Error::new(io::ErrorKind::StorageFull, "only a part of the record could be written"))
    }

    /// Whether there is room for `size` bytes, tried by writing them and taking them back.
    pub(super) fn probe(&mut self, size: usize) -> io::Result<()> {
        let before = self.len;
        self.append(&vec![0; size])?;
        self.len = before;
        self.soiled = true;
        self.cut()
    }

    /// Empties the file.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.len > 0 || self.soiled {
            self.file.set_len(0)?;
            (self.len, self.soiled) = (0, false);
        }
        Ok(())
    }

    /// The file once more, to wait for the disk without keeping others from writing.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.soiled = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_nothing_behind_and_a_cleared_segment_starts_at_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("segment");
        let mut segment = Segment::create(&path).expect("made");
        segment.append(b"one").expect("written");
        segment.probe(100).expect("there is room");
        segment.append(b"two").expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"onetwo");
        segment.clear().expect("emptied");
        segment.append(b"three").expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"three");
    }

    #[test]
    fn a_full_disk_is_an_error_and_not_half_a_record() {
        let full = OpenOptions::new().append(true).open("/dev/full").expect("opened");
        let error = Segment::of(full).append(b"record").expect_err("there is no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
