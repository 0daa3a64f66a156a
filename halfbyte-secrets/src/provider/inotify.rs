//! The operating system's word on changes in a folder: inotify(7).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::FsWord;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::folder::DATA;

/// Events wait here until somebody reads them.
#[derive(Debug)]
pub(super) struct Notices(OwnedFd);

/// By `f_type` of statfs(2): a change on another machine is not told of here, or in user space may not be.
/// NFS, SMB (two), FUSE, 9p, Ceph, AFS.
const TOLD_OF_HALF: [u32; 7] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x5346_414f];

impl Notices {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?))
    }

    /// Watches `folder`; answers whether changes in it will be told of.
    pub(super) fn watch(&self, folder: &Path) -> bool {
        // The width of the number is another on each machine.
        let is_half = |kind: FsWord| TOLD_OF_HALF.iter().any(|&half| half as FsWord == kind);
        if !rustix::fs::statfs(folder).is_ok_and(|system| !is_half(system.f_type)) {
            return false;
        }
        let renamed = WatchFlags::MOVE | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let written = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE | WatchFlags::ATTRIB;
        inotify::add_watch(&self.0, folder, renamed | written | WatchFlags::ONLYDIR).is_ok()
    }

    /// Takes all events that wait; answers whether one of them matters. An error says "would block" when there was none.
    pub(super) fn drain(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.0, &mut buffer);
        let (mut any, mut matters) = (false, false);
        loop {
            match events.next() {
                Ok(event) => {
                    any = true;
                    let of_swap = |name: &[u8]| name.starts_with(b"..") && name != DATA.as_bytes();
                    let is_draft = event.file_name().is_some_and(|name| of_swap(name.to_bytes()));
                    matters |= !is_draft || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if any => return Ok(matters),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsRawFd for Notices {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
