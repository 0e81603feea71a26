//! What a verb says: data on stdout, everything else on stderr.
//!
//! A reader that goes away (`kontiki get pods | head -1`) ends the verb quietly.

use std::io::{ErrorKind, Write};

/// The two streams of a verb.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Output;

/// stdout is gone: nobody reads the data any more.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
pub(crate) struct Closed;

impl Output {
    /// Writes data as it is.
    pub(crate) fn data(self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
            Err(error) => Err(anyhow::Error::new(error).context("cannot write to stdout")),
        }
    }

    /// Writes one line of data.
    pub(crate) fn line(self, text: &str) -> anyhow::Result<()> {
        self.data(&format!("{text}\n"))
    }

    /// Says something to a person; nobody listening is no error.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}
