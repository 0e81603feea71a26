//! Whether a text is a schedule, in the words of the library that upstream reads them with.

/// One of the five fields.
struct Field {
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { least: 0, most: 59, names: &[] },
    Field { least: 0, most: 23, names: &[] },
    Field { least: 1, most: 31, names: &[] },
    Field {
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];
const WORDS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// Units of Go's durations.
const UNITS: [&str; 7] = ["ns", "us", "µs", "ms", "s", "m", "h"];

/// What is wrong with a schedule.
pub(super) fn check(text: &str) -> Result<(), String> {
    let text = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest).trim(),
        None => text,
    };
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        text.split(',')
            .filter(|range| !range.is_empty())
            .try_for_each(|range| field.range(range))?;
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    if WORDS.contains(&text) {
        return Ok(());
    }
    let Some(duration) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    let failed = |why: &str| {
        Err(format!("failed to parse duration {text}: time: {why} duration {duration:?}"))
    };
    let mut rest = duration.trim_start_matches(['+', '-']);
    if rest.is_empty() {
        return failed("invalid");
    }
    while !rest.is_empty() {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if number.len() == rest.len() {
            return failed("invalid");
        }
        let unit_end = number.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, next) = number.split_at(unit_end.unwrap_or(number.len()));
        if unit.is_empty() {
            return failed("missing unit in");
        }
        if !UNITS.contains(&unit) {
            return Err(format!(
                "failed to parse duration {text}: time: unknown unit {unit:?} in duration \
                 {duration:?}"
            ));
        }
        rest = next;
    }
    Ok(())
}

impl Field {
    fn range(&self, text: &str) -> Result<(), String> {
        let mut halves = text.split('/');
        let (span, step) = (halves.next().unwrap_or_default(), halves.next());
        if halves.next().is_some() {
            return Err(format!("too many slashes: {text}"));
        }
        let mut ends = span.split('-');
        let (first, last) = (ends.next().unwrap_or_default(), ends.next());
        let (start, mut end) = if matches!(first, "*" | "?") {
            (self.least, self.most)
        } else {
            let start = self.number(first)?;
            let end = last.map(|last| self.number(last)).transpose()?;
            if ends.next().is_some() {
                return Err(format!("too many hyphens: {text}"));
            }
            (start, end.unwrap_or(start))
        };
        if let Some(step) = step {
            if plain_number(step)? == 0 {
                return Err(format!("step of range should be a positive number: {text}"));
            }
            // `N/step` goes on to the end.
            if last.is_none() {
                end = self.most;
            }
        }
        if start < self.least {
            let least = self.least;
            return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
        }
        if end > self.most {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.most));
        }
        if start > end {
            return Err(format!(
                "beginning of range ({start}) beyond end of range ({end}): {text}"
            ));
        }
        Ok(())
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(at) => Ok(u32::try_from(at).unwrap_or_default() + self.least),
            None => plain_number(text),
        }
    }
}

fn plain_number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) => u32::try_from(number)
            .map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules_are_read_as_upstream_reads_them() {
        for good in
            ["* * * * *", "*/5 1-3 1,15 jan-mar MON", "@hourly", "@every 1h30m", "5/15 0 ? * 0"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let cases = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ];
        for (text, wrong) in cases {
            assert_eq!(check(text), Err(wrong.to_owned()), "{text}");
        }
    }
}
