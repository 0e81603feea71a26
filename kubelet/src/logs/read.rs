//! Reading a container's log as `kubectl logs` wants it: from a line or a time on, whole or
//! followed, across rotation.

use std::{
    io::SeekFrom,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader},
    sync::mpsc,
    time::timeout,
};

use super::line;
use crate::folder_watch::FolderWatch;

/// A follower asks this often whether its container still runs.
const ALIVE_CHECK: Duration = Duration::from_secs(1);
/// Blocks in which a file is read from its end.
const BLOCK: u64 = 64 << 10;

/// What to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on while the container runs.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Lines begin with their time.
    pub timestamps: bool,
    /// Only what was written since.
    pub since: Option<Timestamp>,
    /// No more bytes than this.
    pub limit_bytes: Option<u64>,
    /// Only `stdout` or only `stderr`.
    pub stream: Option<String>,
}

/// Where the output goes; bounded, so that a slow reader slows us.
pub type Output = mpsc::Sender<Bytes>;

/// Turns lines of the runtime into what is sent. Pure.
pub struct Selection {
    options: LogOptions,
    left: Option<u64>,
    at_line_start: bool,
}

impl Selection {
    /// Nothing read yet.
    pub fn new(options: LogOptions) -> Selection {
        Selection { left: options.limit_bytes, options, at_line_start: true }
    }

    /// What a line adds to the output; `None` once the limit is reached.
    pub fn take(&mut self, raw: &str) -> Option<String> {
        if self.left == Some(0) {
            return None;
        }
        let Some(line) = line::parse(raw) else { return Some(String::new()) };
        let too_old = self
            .options
            .since
            .is_some_and(|since| line.timestamp().is_some_and(|time| time < since));
        let other = self.options.stream.as_deref().is_some_and(|wanted| wanted != line.stream);
        if too_old || other {
            return Some(String::new());
        }
        let mut text = String::new();
        if self.options.timestamps && self.at_line_start {
            text.push_str(line.time);
            text.push(' ');
        }
        text.push_str(line.message);
        if !line.partial {
            text.push('\n');
        }
        self.at_line_start = !line.partial;
        if let Some(left) = &mut self.left {
            let mut keep = text.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            while !text.is_char_boundary(keep) {
                keep -= 1;
            }
            *left = if keep < text.len() { 0 } else { *left - keep as u64 };
            text.truncate(keep);
        }
        Some(text)
    }
}

/// Writes a log to `output` until its end, or for as long as `is_alive` says when following.
pub async fn read<F>(
    log: PathBuf,
    options: LogOptions,
    output: Output,
    is_alive: impl Fn() -> F,
) -> std::io::Result<()>
where
    F: Future<Output = bool>,
{
    let follow = options.follow;
    let folder = log.parent().unwrap_or(Path::new("/")).to_owned();
    // Watched before the first read: what is written in between is not missed.
    let watch = follow.then(|| FolderWatch::new(&folder));
    let mut file = File::open(&log).await?;
    let start = match options.tail_lines {
        Some(lines) => start_of_tail(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut inode = file.metadata().await?.ino();
    let mut reader = BufReader::new(file);
    let mut selection = Selection::new(options);
    let mut buffer = Vec::new();
    let mut last_round = false;
    loop {
        while reader.read_until(b'\n', &mut buffer).await? > 0 {
            if buffer.last() != Some(&b'\n') {
                break;
            }
            let Some(text) = selection.take(&String::from_utf8_lossy(&buffer)) else {
                return Ok(());
            };
            buffer.clear();
            if !text.is_empty() && output.send(Bytes::from(text)).await.is_err() {
                return Ok(());
            }
        }
        let Some(watch) = &watch else { return Ok(()) };
        if let Ok(metadata) = tokio::fs::metadata(&log).await
            && metadata.ino() != inode
        {
            inode = metadata.ino();
            reader = BufReader::new(File::open(&log).await?);
            buffer.clear();
            continue;
        }
        if last_round {
            return Ok(());
        }
        tokio::select! { biased;
            () = output.closed() => return Ok(()),
            waited = timeout(ALIVE_CHECK, watch.changed()) => {
                // What was written before the end is still read.
                last_round = waited.is_err() && !is_alive().await;
            }
        }
    }
}

/// Where the last `lines` lines begin.
async fn start_of_tail(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut seen = 0u64;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start)).await?;
        block.clear();
        (&mut *file).take(end - start).read_to_end(&mut block).await?;
        for (i, byte) in block.iter().enumerate().rev() {
            let position = start + i as u64;
            // The line end of the last line does not begin another.
            if *byte == b'\n' && position + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(position + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-20T10:00:00Z stdout F one\n\
        2026-11-20T10:00:01Z stderr P tw\n\
        2026-11-20T10:00:01Z stderr F o\n\
        2026-11-20T10:00:02Z stdout F three\n";

    async fn check(options: LogOptions, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        std::fs::write(&log, LOG).unwrap();
        let (sender, mut receiver) = mpsc::channel(100);
        read(log, options, sender, || async { false }).await.unwrap();
        let mut text = String::new();
        while let Some(part) = receiver.recv().await {
            text.push_str(std::str::from_utf8(&part).unwrap());
        }
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn options_choose_what_is_read() {
        let all = LogOptions::default();
        check(all.clone(), "one\ntwo\nthree\n").await;
        check(LogOptions { tail_lines: Some(1), ..all.clone() }, "three\n").await;
        check(LogOptions { tail_lines: Some(0), ..all.clone() }, "").await;
        check(LogOptions { tail_lines: Some(99), ..all.clone() }, "one\ntwo\nthree\n").await;
        check(LogOptions { limit_bytes: Some(6), ..all.clone() }, "one\ntw").await;
        check(LogOptions { stream: Some("stderr".to_owned()), ..all.clone() }, "two\n").await;
        let since = Some("2026-11-20T10:00:02Z".parse().unwrap());
        check(LogOptions { since, ..all.clone() }, "three\n").await;
        check(
            LogOptions { timestamps: true, ..all.clone() },
            "2026-11-20T10:00:00Z one\n2026-11-20T10:00:01Z two\n2026-11-20T10:00:02Z three\n",
        )
        .await;
        check(LogOptions { follow: true, ..all }, "one\ntwo\nthree\n").await;
    }
}
