//! Learning from the kernel that something in a folder changed.

use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    time::Duration,
};

use tokio::{io::unix::AsyncFd, time::sleep};

/// A machine has few inotify instances; without one, whoever waits looks this often.
const WITHOUT_INOTIFY: Duration = Duration::from_millis(250);

/// Watches a folder: files in it may be changed, and replaced by new ones.
pub struct FolderWatch(Option<AsyncFd<OwnedFd>>);

impl FolderWatch {
    /// Watches a folder, if the kernel lets us.
    pub fn new(folder: &Path) -> FolderWatch {
        FolderWatch(open(folder).ok())
    }

    /// Waits until something in the folder changed.
    pub async fn changed(&self) {
        let Some(watch) = &self.0 else {
            sleep(WITHOUT_INOTIFY).await;
            return;
        };
        match watch.readable().await {
            Ok(mut ready) => {
                drain(watch.get_ref());
                ready.clear_ready();
            }
            Err(_) => sleep(WITHOUT_INOTIFY).await,
        }
    }
}

#[expect(unsafe_code, reason = "inotify has no safe wrapper in the standard library")]
fn open(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: the call takes plain numbers; the result is checked before it becomes an owner.
    let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let events = libc::IN_MODIFY
        | libc::IN_CREATE
        | libc::IN_DELETE
        | libc::IN_MOVED_FROM
        | libc::IN_MOVED_TO
        | libc::IN_CLOSE_WRITE;
    // SAFETY: the path is a string that lives until the call returns.
    if unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), events) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor stays open for as long as it is registered.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Reads all waiting events; that there were some is all that matters.
#[expect(unsafe_code, reason = "a raw descriptor is read")]
fn drain(fd: &OwnedFd) {
    let mut buffer = [0u8; 4096];
    // SAFETY: the buffer is as long as the call is told; the descriptor does not block.
    while unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}
