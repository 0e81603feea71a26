//! Which containers the kernel killed for memory, by its own word.
//!
//! containerd hears of it apart from a container's end, and on a busy machine sometimes not at all:
//! its shim asks a cgroup that may be gone by then. The kernel's log says it before the process ends,
//! with the cgroup of the process, and a part of its path is the container's id.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
};

use tokio::io::unix::AsyncFd;

use crate::node::context::Context;

const KERNEL_LOG: &str = "/dev/kmsg";
/// The kernel's limit of a record.
const RECORD_MAX: usize = 8 << 10;

/// Follows the kernel's log, and remembers whom of this node's containers it killed.
pub async fn follow(context: Arc<Context>) {
    let log = match open() {
        Ok(log) => log,
        Err(error) => {
            tracing::info!(
                "cannot follow {KERNEL_LOG}: {error}; containers that were killed for memory are \
                 known from containerd alone"
            );
            return std::future::pending().await;
        }
    };
    let mut record = vec![0; RECORD_MAX];
    loop {
        match next(&log, &mut record).await {
            Ok(text) => {
                if let Some(container) = killed(&String::from_utf8_lossy(text)) {
                    note(&context, container);
                }
            }
            // Overwritten before it was read: on with the oldest that is left.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => {
                tracing::warn!("{KERNEL_LOG} is not followed any more: {error}");
                return std::future::pending().await;
            }
        }
    }
}

/// The log, from now on.
#[expect(unsafe_code, reason = "tokio asks for a promise about the file descriptor")]
fn open() -> io::Result<AsyncFd<File>> {
    let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(KERNEL_LOG)?;
    log.seek(SeekFrom::End(0))?;
    // SAFETY: the file is open, and the AsyncFd owns it, so that it stays so.
    unsafe { AsyncFd::register(log) }.map_err(io::Error::from)
}

/// The next record: a read gives one.
async fn next<'a>(log: &AsyncFd<File>, record: &'a mut [u8]) -> io::Result<&'a [u8]> {
    loop {
        let mut ready = log.readable().await?;
        if let Ok(length) = ready.try_io(|log| log.get_ref().read(record)) {
            return Ok(&record[..length?]);
        }
    }
}

fn note(context: &Context, container: &str) {
    let pod = context.owners.lock().get_mut(container).map(|owned| {
        owned.out_of_memory = true;
        owned.pod.clone()
    });
    if let Some(inbox) = pod.and_then(|pod| context.inbox(&pod)) {
        inbox.exited(container);
    }
}

/// The container of a process that was killed for memory, if that is what a record tells.
fn killed(record: &str) -> Option<&str> {
    let (_, message) = record.split_once(';')?;
    let facts = message.strip_prefix("oom-kill:")?;
    let (_, cgroup) = facts.split_once(",task_memcg=")?;
    let (cgroup, _) = cgroup.split_once(",task=")?;
    cgroup.split('/').find_map(|part| {
        // systemd calls it `cri-containerd-ID.scope`.
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit('-').next()?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_name_the_container_that_was_killed() {
        let id = "f5a16493c7f55d8a1e07b8c479ad87e567259c9c5c8a8aa05094cc36cdb57502";
        let other = id.replace('f', "0");
        let record = |cgroup: &str| {
            format!(
                "6,1234,88340230225,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={other},\
                 mems_allowed=0,oom_memcg=/kubepods,task_memcg={cgroup},task=exe,pid=15969,uid=0\n"
            )
        };
        for (cgroup, expected) in [
            (format!("/kubepods/burstable/pod1-2/{id}"), Some(id)),
            (format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"), Some(id)),
            (format!("/kubepods/pod1/{id}/inner/{other}"), Some(id)),
            ("/system.slice/cron.service".to_owned(), None),
            ("/".to_owned(), None),
        ] {
            assert_eq!(killed(&record(&cgroup)), expected, "{cgroup}");
        }
        assert_eq!(killed("6,1,2,-;Memory cgroup out of memory: Killed process 1 (exe)"), None);
        assert_eq!(killed(""), None);
    }
}
