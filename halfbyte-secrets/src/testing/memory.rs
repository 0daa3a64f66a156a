//! Looks through the memory of this process for what was not wiped.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use secrecy::zeroize::Zeroizing;

use super::findings::Findings;

const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

/// More than any form of a canary is long.
const OVERLAP: usize = 1024;

/// Looks no further than that.
const MOST: u64 = 4 << 30;

/// Looks through all memory that is private to this process and can be written: heaps, stacks, statics.
///
/// What is looked for is known by its hash alone, so that it cannot find itself.
pub(super) fn search(findings: &Findings) -> io::Result<()> {
    // Before it is known what there is to look through.
    let mut chunk = Zeroizing::new(vec![0; CHUNK + OVERLAP]);
    let (maps, memory) = (fs::read_to_string("/proc/self/maps")?, File::open("/proc/self/mem")?);
    let mut left = MOST;
    for Region { start, end, name } in maps.lines().filter_map(Region::parse) {
        let mut at = start;
        while at < end && left > 0 {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK + OVERLAP);
            // A thread may have ended meanwhile, and its stack be gone.
            let Ok(read) = memory.read_at(&mut chunk[..wanted], at) else { break };
            if read == 0 || runs(&chunk[..read]).any(|run| findings.look(run, || format!("memory: {name}"))) {
                break;
            }
            let step = (read as u64).min(CHUNK as u64);
            at += step;
            left = left.saturating_sub(step);
        }
    }
    if left == 0 {
        return Err(io::Error::other(format!("there is more than {MOST} bytes of it")));
    }
    Ok(())
}

/// What lies between pages that are all zeros, as most of a stack is.
fn runs(chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
    const ZEROS: [u8; PAGE] = [0; PAGE];
    let is_empty = |page: &[u8]| *page == ZEROS[..page.len()];
    let mut rest = chunk;
    std::iter::from_fn(move || {
        let empty = rest.chunks(PAGE).take_while(|page| is_empty(page)).map(<[u8]>::len).sum();
        rest = &rest[empty..];
        let full = rest.chunks(PAGE).take_while(|page| !is_empty(page)).map(<[u8]>::len).sum();
        let (run, after) = rest.split_at(full);
        rest = after;
        (!run.is_empty()).then_some(run)
    })
}

struct Region<'a> {
    start: u64,
    end: u64,
    name: &'a str,
}

impl<'a> Region<'a> {
    /// Reads a line of `/proc/self/maps`, if it is of memory that is written and not shared.
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.splitn(6, ' ');
        let (start, end) = parts.next()?.split_once('-')?;
        let rights = parts.next()?;
        if !rights.starts_with("rw") || !rights.ends_with('p') {
            return None;
        }
        let name = parts.nth(3).map(str::trim).filter(|name| !name.is_empty());
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            name: name.unwrap_or("the heap or the stack of a thread"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_of_its_own_that_it_writes_is_looked_at() {
        let heap = Region::parse("55d0-55f1 rw-p 00000000 00:00 0                          [heap]").expect("written");
        assert_eq!((heap.start, heap.end, heap.name), (0x55d0, 0x55f1, "[heap]"));
        let stack = Region::parse("7f00-7f20 rw-p 00000000 00:00 0 ").expect("written");
        assert_eq!(stack.name, "the heap or the stack of a thread");
        for line in ["5000-6000 r--p 00000000 00:00 0 /bin/x", "5000-6000 rw-s 00000000 00:00 0 /dev/shm/x", "", "x y"]
        {
            assert!(Region::parse(line).is_none(), "{line}");
        }
    }

    #[test]
    fn what_is_between_empty_pages_is_looked_at_whole() {
        let mut chunk = vec![0; 5 * PAGE + 7];
        chunk[PAGE + 5] = 1;
        chunk[2 * PAGE] = 1;
        chunk[5 * PAGE + 6] = 1;
        let found: Vec<_> = runs(&chunk).map(<[u8]>::len).collect();
        assert_eq!(found, [2 * PAGE, 7]);
        assert_eq!(runs(&chunk[..PAGE]).count(), 0);
    }
}
