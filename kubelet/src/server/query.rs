//! Query strings of requests. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::logs::read::LogOptions;

/// What a log request asks for; whether of the container before.
pub(super) fn log_options(query: &str, now: Timestamp) -> Result<(LogOptions, bool), String> {
    let mut options = LogOptions::default();
    let mut previous = false;
    for (key, value) in pairs(query) {
        let number = || -> Result<u64, String> {
            value
                .parse()
                .map_err(|_| format!("{key} must be a number that is not negative, not {value:?}"))
        };
        match key {
            "follow" => options.follow = flag(&value),
            "previous" => previous = flag(&value),
            "timestamps" => options.timestamps = flag(&value),
            "tailLines" => options.tail_lines = Some(number()?),
            "limitBytes" => options.limit_bytes = Some(number()?),
            "sinceSeconds" => {
                let seconds = i64::try_from(number()?).unwrap_or(i64::MAX);
                options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
            }
            "sinceTime" => {
                let time = value.parse().map_err(|_| format!("sinceTime {value:?} is no time"))?;
                options.since = Some(time);
            }
            "stream" => match value.as_str() {
                "Stdout" => options.stream = Some("stdout".to_owned()),
                "Stderr" => options.stream = Some("stderr".to_owned()),
                "All" | "" => {}
                _ => return Err(format!("stream must be All, Stdout or Stderr, not {value:?}")),
            },
            _ => {}
        }
    }
    Ok((options, previous))
}

/// The parameters in order, their values decoded.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (&str, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key, unescape(value))
    })
}

fn flag(value: &str) -> bool {
    !matches!(value, "false" | "0" | "")
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_bad_ones_refused() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let (options, previous) = log_options(
            "follow=true&tailLines=5&previous=true&sinceTime=2026-11-20T09%3A00%3A00Z&x=y",
            now,
        )
        .unwrap();
        assert!(options.follow && previous && !options.timestamps);
        assert_eq!(options.tail_lines, Some(5));
        assert_eq!(options.since.unwrap().to_string(), "2026-11-20T09:00:00Z");
        let (options, _) = log_options("sinceSeconds=60&follow=false", now).unwrap();
        assert_eq!(options.since.unwrap().to_string(), "2026-11-20T09:59:00Z");
        assert!(!options.follow);
        assert!(log_options("tailLines=-1", now).is_err());
    }
}
