//! Container logs: CRI's line format ([`mod@line`], pure), reading and following ([`read`]), rotation
//! ([`rotate`]).

pub mod line;
pub mod read;
pub mod rotate;

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Upstream's limits of a termination message taken from a log.
const MESSAGE_LINES: usize = 80;
const MESSAGE_BYTES: u64 = 2048;

/// The end of a file as text; empty if it cannot be read.
pub async fn tail_of_file(path: &Path, limit: u64) -> String {
    let Ok(mut file) = tokio::fs::File::open(path).await else { return String::new() };
    let length = file.metadata().await.map_or(0, |metadata| metadata.len());
    if length > limit && file.seek(std::io::SeekFrom::Start(length - limit)).await.is_err() {
        return String::new();
    }
    let mut bytes = Vec::new();
    match file.take(limit).read_to_end(&mut bytes).await {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

/// The last lines of a container's log, as a termination message.
pub async fn tail_of_log(path: &Path) -> String {
    let text = tail_of_file(path, MESSAGE_BYTES * 4).await;
    let mut messages: Vec<String> = text
        .lines()
        .filter_map(line::parse)
        .map(|line| format!("{}{}", line.message, if line.partial { "" } else { "\n" }))
        .collect();
    let excess = messages.len().saturating_sub(MESSAGE_LINES);
    messages.drain(..excess);
    let text = messages.concat();
    let limit = usize::try_from(MESSAGE_BYTES).expect("the limit is small");
    let mut start = text.len().saturating_sub(limit);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}
