//! What was measured: a table for people on stderr, one line of JSON for machines on stdout.

use std::{io::Write, time::Duration};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::store::table::figure;

/// One figure.
#[derive(Clone, Debug)]
struct Row {
    key: String,
    value: f64,
    unit: &'static str,
}

/// Figures in the order in which they were taken.
#[derive(Clone, Debug)]
pub struct Report {
    bench: &'static str,
    rows: Vec<Row>,
}

impl Report {
    /// The report of a generator.
    pub fn new(bench: &'static str) -> Report {
        Report { bench, rows: Vec::new() }
    }

    /// Adds a figure; `unit` ends its key in the JSON (a rate in `/s` becomes `creates_per_s`).
    pub fn add(&mut self, key: &str, value: f64, unit: &'static str) {
        self.rows.push(Row { key: key.to_owned(), value, unit });
    }

    /// Adds a duration in milliseconds.
    pub fn add_ms(&mut self, key: &str, value: Duration) {
        self.add(key, value.as_secs_f64() * 1e3, "ms");
    }

    /// Adds a count.
    pub fn add_count(&mut self, key: &str, value: usize) {
        let value = u32::try_from(value).map_or(f64::MAX, f64::from);
        self.add(key, value, "");
    }

    /// All figures as one JSON object.
    #[expect(clippy::cast_possible_truncation, reason = "counts are far below 2^52")]
    pub fn json(&self) -> Value {
        let entries = self.rows.iter().map(|row| {
            let key = match row.unit {
                "" => return (row.key.clone(), json!(row.value.round() as i64)),
                unit => {
                    format!("{}_{}", row.key, unit.trim_start_matches('/').replace('/', "_per_"))
                }
            };
            let key = if row.unit.starts_with('/') { key.replace("_rate_", "s_per_") } else { key };
            (key.to_lowercase(), json!((row.value * 1000.0).round() / 1000.0))
        });
        let name = ("bench".to_owned(), json!(self.bench));
        Value::Object(std::iter::once(name).chain(entries).collect::<Map<_, _>>())
    }

    /// All figures as aligned lines.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.key.len()).max().unwrap_or_default();
        let line = |row: &Row| {
            let number = if row.unit.is_empty() {
                format!("{:.0}", row.value)
            } else {
                format!("{:.2}", row.value)
            };
            format!("{:width$}  {number:>12} {}\n", row.key, row.unit).trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints both.
    pub fn print(&self) -> Result<()> {
        write!(std::io::stderr().lock(), "{}", self.table())?;
        writeln!(std::io::stdout().lock(), "{}", self.json())?;
        Ok(())
    }
}

/// Reports of the same figures as a table in markdown.
pub fn side_by_side(reports: &[(String, Report)]) -> String {
    let titles: Vec<&str> = reports.iter().map(|(title, _)| title.as_str()).collect();
    let mut text = format!("| figure | unit | {} |\n|---|---|", titles.join(" | "));
    text.push_str(&"---:|".repeat(reports.len()));
    text.push('\n');
    let first = reports.first().map_or(&[][..], |(_, report)| &report.rows);
    for row in first {
        let value = |report: &Report| {
            let found = report.rows.iter().find(|other| other.key == row.key);
            match found {
                Some(row) if row.unit.is_empty() => format!("{:.0}", row.value),
                Some(row) => figure(row.value),
                None => "-".to_owned(),
            }
        };
        let values: Vec<String> = reports.iter().map(|(_, report)| value(report)).collect();
        let key = row.key.replace('_', " ");
        text.push_str(&format!("| {key} | {} | {} |\n", row.unit, values.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn reports_stand_side_by_side() {
        let report = |rate: f64| {
            let mut report = Report::new("api");
            report.add_count("creates", 1000);
            report.add("create_rate", rate, "/s");
            report
        };
        let mut second = report(99.96);
        second.rows.pop();
        expect![[r"
            | figure | unit | 1 server | 3 servers |
            |---|---|---:|---:|
            | creates |  | 1000 | 1000 |
            | create rate | /s | 1235 | - |
        "]]
        .assert_eq(&side_by_side(&[
            ("1 server".to_owned(), report(1234.5678)),
            ("3 servers".to_owned(), second),
        ]));
    }

    #[test]
    fn figures_become_a_table_and_json() {
        let mut report = Report::new("api");
        report.add_count("creates", 1000);
        report.add("create_rate", 1234.5678, "/s");
        report.add_ms("create_p50", Duration::from_micros(2500));
        expect![[r"
            creates              1000
            create_rate       1234.57 /s
            create_p50           2.50 ms
        "]]
        .assert_eq(&report.table());
        expect![[r#"{"bench":"api","creates":1000,"creates_per_s":1234.568,"create_p50_ms":2.5}"#]]
            .assert_eq(&report.json().to_string());
    }
}
