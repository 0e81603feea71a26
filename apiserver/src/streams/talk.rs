//! The two ends of a conversation that is translated: a WebSocket client, and a kubelet.
//!
//! Each end has one reader and one writer. What one end's reader hears goes to the other end's
//! writer through a short queue: where it is full the reader waits, its peer's TCP window closes,
//! and so a slow end slows the other down and nobody else. Answers to pings are sent if there is
//! room, because a reader must not wait for its own end.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::websocket;

/// Frames that wait for a slow end.
const FRAMES_MAX: usize = 4;
/// What is read at once at most.
const READ_BYTES_MAX: usize = 16 << 10;
/// How often an end is told that we are there. Clients give up after a minute of silence.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What is written to an end.
pub(super) type Outbox = mpsc::Sender<Bytes>;

/// The reading half of an end.
pub(super) struct Reader {
    half: ReadHalf<TokioIo<Upgraded>>,
    buffer: BytesMut,
}

/// The writing half of an end.
pub(super) struct Writer {
    half: WriteHalf<TokioIo<Upgraded>>,
    frames: mpsc::Receiver<Bytes>,
}

/// Takes a connection apart.
pub(super) fn open(connection: Upgraded) -> (Reader, Writer, Outbox) {
    let (read, write) = tokio::io::split(TokioIo::new(connection));
    let (outbox, frames) = mpsc::channel(FRAMES_MAX);
    (Reader { half: read, buffer: BytesMut::new() }, Writer { half: write, frames }, outbox)
}

impl Reader {
    /// What was read and not taken yet.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Reads more; false at the end.
    pub(super) async fn more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES_MAX);
        let mut limited = (&mut self.half).take(READ_BYTES_MAX as u64);
        Ok(limited.read_buf(&mut self.buffer).await? > 0)
    }

    /// Reads and forgets until the end.
    pub(super) async fn drain(&mut self) {
        while matches!(self.more().await, Ok(true)) {
            self.buffer.clear();
        }
    }
}

impl Writer {
    /// Writes what comes until nobody sends any more, or the end takes no more. A WebSocket client
    /// hears in between that we are there.
    pub(super) async fn run(mut self) {
        let mut beats = interval(HEARTBEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        loop {
            let frame = tokio::select! { biased;
                frame = self.frames.recv() => frame,
                _ = beats.tick() => Some(websocket::pong(&[])),
            };
            let Some(frame) = frame else {
                // Nobody is left to be told if it fails.
                let _ = self.half.shutdown().await;
                return;
            };
            if self.write(&frame).await.is_err() {
                return;
            }
        }
    }

    /// The same for an end that may take no more while it is still to be heard: then what is said
    /// to it is lost, and this never returns.
    pub(super) async fn run_while_possible(mut self) {
        let mut takes_more = true;
        while let Some(frame) = self.frames.recv().await {
            takes_more = takes_more && self.write(&frame).await.is_ok();
        }
        std::future::pending::<()>().await;
    }

    async fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.half.write_all(frame).await?;
        self.half.flush().await
    }
}
