//! Two connections joined byte for byte: what one side says the other hears.
//!
//! Nothing is kept but one buffer per direction, so a side that reads slowly slows the other down
//! and nobody else. A joint ends when either side has ended, and then takes what was still on its
//! way to the other; when nothing was said for too long; or when its future is dropped.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

/// What one direction holds at most.
const BUFFER_BYTES: usize = 16 << 10;
/// How long the second direction may go on once the first has ended: enough for what is on its
/// way, and for the peer to close in turn.
const LINGER: Duration = Duration::from_secs(5);
/// A peer that is silent for so long is asked whether it is still there, as Go's servers do.
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// Unanswered questions until the peer counts as gone.
const PROBES_MAX: u32 = 4;

/// Why a joint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The first connection ended.
    First,
    /// The second connection ended.
    Second,
    /// Nothing was said for too long.
    Idle,
}

/// When something was last said.
struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Activity {
        Activity { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn note(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Returns when nothing was noted for this long.
    async fn idle(&self, limit: Duration) {
        loop {
            let last = self.last_ms.load(Ordering::Relaxed);
            sleep_until(self.start + Duration::from_millis(last) + limit).await;
            if self.last_ms.load(Ordering::Relaxed) == last {
                return;
            }
        }
    }
}

/// Joins two connections until one ends or both were silent for `idle_max`.
pub async fn splice<A, B>(first: A, second: B, idle_max: Duration) -> Ended
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let activity = Activity::new();
    let (first_read, first_write) = tokio::io::split(first);
    let (second_read, second_write) = tokio::io::split(second);
    let mut forth = Box::pin(pump(first_read, second_write, &activity));
    let mut back = Box::pin(pump(second_read, first_write, &activity));
    // A broken direction is an ended one: there is nobody to tell.
    tokio::select! { biased;
        _ = &mut back => {
            let _ = timeout(LINGER, forth).await;
            Ended::Second
        }
        _ = &mut forth => {
            let _ = timeout(LINGER, back).await;
            Ended::First
        }
        () = activity.idle(idle_max) => Ended::Idle,
    }
}

async fn pump<R, W>(mut from: R, mut to: W, activity: &Activity) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        activity.note();
        to.write_all(&buffer[..count]).await?;
        // TLS keeps what its socket did not take at once.
        to.flush().await?;
        activity.note();
    }
}

/// Has the kernel find out when a peer is gone without a word.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let probes = socket2::TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_AFTER)
        .with_retries(PROBES_MAX);
    socket.set_tcp_keepalive(&probes)?;
    // The same for a peer that does not confirm what was sent.
    socket.set_tcp_user_timeout(Some(PROBE_AFTER * (PROBES_MAX + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_both_ways_and_an_end_is_passed_on() {
        let (mut client, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let talk = async {
            client.write_all(b"question").await.unwrap();
            let mut heard = [0; 8];
            server.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"question");
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await.unwrap();
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.unwrap();
            drop(client);
            heard
        };
        let (ended, heard) = tokio::join!(splice(near, far, LONG), talk);
        assert_eq!((ended, heard.as_str()), (Ended::Second, "answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_side_holds_the_other_back() {
        let (mut client, near) = duplex(64);
        let (far, mut server) = duplex(64);
        let joint = splice(near, far, LONG);
        let flood = async {
            let mut sent = 0_usize;
            while timeout(Duration::from_secs(1), client.write_all(&[7; 1024])).await.is_ok() {
                sent += 1024;
            }
            sent
        };
        let mut joint = Box::pin(joint);
        let sent = tokio::select! { biased;
            sent = flood => sent,
            _ = &mut joint => panic!("nobody has ended"),
        };
        assert!(sent <= 1024, "{sent} bytes went nowhere");
        let mut heard = vec![0; 128];
        tokio::select! { biased;
            outcome = server.read_exact(&mut heard) => assert_eq!(outcome.unwrap(), 128),
            _ = &mut joint => panic!("nobody has ended"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_so_does_a_side_that_never_closes() {
        let (_client, near) = duplex(64);
        let (far, mut server) = duplex(64);
        assert_eq!(splice(near, far, Duration::from_secs(60)).await, Ended::Idle);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);

        let (client, near) = duplex(64);
        let (far, server) = duplex(64);
        drop(server);
        let start = Instant::now();
        assert_eq!(splice(near, far, LONG).await, Ended::Second);
        assert_eq!(start.elapsed(), LINGER);
        drop(client);
    }
}
