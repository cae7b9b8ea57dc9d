//! The system's own word that something in a folder has changed. Where there is none (another system, or its watches are
//! used up), files are looked at again and again instead.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// Something happened in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Which folder, as [`Inotify::watch`] numbered it; `None`: any, since events were lost.
    pub folder: Option<i32>,
    /// The entry; `None`: the folder itself.
    pub name: Option<OsString>,
}

pub(super) use system::Inotify;

#[cfg(target_os = "linux")]
mod system {
    use std::ffi::OsStr;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    use rustix::io::Errno;
    use tokio::io::unix::AsyncFd;

    use super::{Event, Path, io};

    /// What may change what a path leads to, or what is in it. `MODIFY` is not among it: whoever writes closes, too.
    const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
        .union(WatchFlags::CREATE)
        .union(WatchFlags::DELETE)
        .union(WatchFlags::MOVE)
        .union(WatchFlags::ATTRIB)
        .union(WatchFlags::DELETE_SELF)
        .union(WatchFlags::MOVE_SELF)
        .union(WatchFlags::ONLYDIR);

    /// An inotify instance. Dropping it ends its watches.
    #[derive(Debug)]
    pub struct Inotify(AsyncFd<OwnedFd>);

    impl Inotify {
        /// A new one, on the runtime that calls.
        ///
        /// # Errors
        /// When the system has none to give (`fs.inotify.max_user_instances`).
        pub fn new() -> io::Result<Self> {
            let instance = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            #[expect(
                deprecated,
                reason = "unsound for raw descriptors; an OwnedFd stays open as long as it is here"
            )]
            AsyncFd::new(instance).map(Self)
        }

        /// Watches a folder: its number. The same folder has the same number.
        ///
        /// # Errors
        /// When it is not there, may not be read, or too many are watched (`fs.inotify.max_user_watches`).
        pub fn watch(&self, folder: &Path) -> io::Result<i32> {
            Ok(inotify::add_watch(self.0.get_ref(), folder, CHANGES)?)
        }

        /// Watches it no more.
        pub fn forget(&self, folder: i32) {
            inotify::remove_watch(self.0.get_ref(), folder).ok(); // it may be gone itself
        }

        /// What has happened; at least one event.
        ///
        /// # Errors
        /// When the system does not say any more.
        pub async fn events(&self) -> io::Result<Vec<Event>> {
            loop {
                let mut ready = self.0.readable().await?;
                if let Ok(events) = ready.try_io(|instance| read(instance.get_ref())) {
                    return events;
                }
            }
        }
    }

    fn read(instance: &OwnedFd) -> io::Result<Vec<Event>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(instance, &mut buffer);
        let mut events = Vec::new();
        // One buffer at a time: a folder in which something happens all the time must not hold us here.
        while events.is_empty() || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => {
                    let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    events.push(Event { folder: (!lost).then_some(event.wd()), name });
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if !events.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(events)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Event, Path, io};

    /// There is none.
    #[derive(Debug)]
    pub enum Inotify {}

    impl Inotify {
        pub fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub fn watch(&self, _: &Path) -> io::Result<i32> {
            match *self {}
        }

        pub fn forget(&self, _: i32) {
            match *self {}
        }

        pub async fn events(&self) -> io::Result<Vec<Event>> {
            match *self {}
        }
    }
}
