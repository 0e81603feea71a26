//! The log of everything that happens in a simulation: equal seeds give equal bytes.

use std::{
    fmt::{Arguments, Write as _},
    sync::Arc,
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Shared by all parts of a simulation.
#[derive(Clone)]
pub(super) struct Trace(Arc<Mutex<Log>>);

struct Log {
    start: Instant,
    text: String,
}

impl Trace {
    /// Begins with the simulated clock.
    pub(super) fn new() -> Trace {
        Trace(Arc::new(Mutex::new(Log { start: Instant::now(), text: String::new() })))
    }

    /// Time since the beginning.
    pub(super) fn now(&self) -> std::time::Duration {
        self.0.lock().start.elapsed()
    }

    /// Notes an event.
    pub(super) fn line(&self, event: Arguments<'_>) {
        let mut log = self.0.lock();
        let micros = log.start.elapsed().as_micros();
        writeln!(log.text, "{micros} {event}").expect("writing to memory succeeds");
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        self.0.lock().text.clone()
    }

    /// Its fingerprint.
    pub(super) fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.0.lock().text.as_bytes());
        digest.iter().take(8).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}
