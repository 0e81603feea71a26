//! One line of a container's log: `TIME STREAM TAGS MESSAGE`. Pure.

use jiff::Timestamp;

/// A parsed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, as it stands in the log.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the container's line goes on in the next.
    pub partial: bool,
    /// What was written, without line end.
    pub message: &'a str,
}

impl Line<'_> {
    /// When it was written.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Reads a line; `None` if it is none.
pub fn parse(text: &str) -> Option<Line<'_>> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (time, rest) = text.split_once(' ')?;
    let (stream, rest) = rest.split_once(' ')?;
    let (tags, message) = rest.split_once(' ').unwrap_or((rest, ""));
    if !matches!(stream, "stdout" | "stderr") {
        return None;
    }
    let partial = tags.split(':').next() == Some("P");
    Some(Line { time, stream, partial, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_runtime_are_understood() {
        let line = parse("2026-11-20T10:23:57.123456789+01:00 stdout F hello  world\n").unwrap();
        assert_eq!((line.stream, line.partial, line.message), ("stdout", false, "hello  world"));
        assert_eq!(
            line.timestamp().map(|time| time.to_string()).as_deref(),
            Some("2026-11-20T09:23:57.123456789Z")
        );
        let partial = parse("2026-11-20T10:23:57Z stderr P abc").unwrap();
        assert_eq!((partial.stream, partial.partial, partial.message), ("stderr", true, "abc"));
        assert_eq!(parse("2026-11-20T10:23:57Z stdout F").unwrap().message, "");
        for bad in ["", "x", "2026 stdin F x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
