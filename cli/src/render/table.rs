//! Columns as kubectl aligns them, from the server's own tables.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

/// Space between columns.
const GAP: usize = 3;

/// A `meta.k8s.io/v1` Table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerTable {
    #[serde(default)]
    pub(crate) column_definitions: Vec<Column>,
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
}

/// A column of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Column {
    name: String,
    /// Only 0 is shown unless the wide form is wanted.
    #[serde(default)]
    priority: i32,
}

/// A row of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    #[serde(default)]
    pub(crate) cells: Vec<Value>,
    /// The object's metadata.
    #[serde(default)]
    pub(crate) object: Value,
}

/// Which parts of a table are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TableOptions<'a> {
    pub(crate) wide: bool,
    pub(crate) with_namespace: bool,
    pub(crate) with_labels: bool,
    pub(crate) without_headers: bool,
    /// Put before every name, as in `pod/`.
    pub(crate) prefix: &'a str,
}

impl ServerTable {
    /// Header (unless unwanted) and rows as text cells.
    pub(crate) fn text(&self, options: TableOptions<'_>) -> Vec<Vec<String>> {
        let shown: Vec<usize> = (0..self.column_definitions.len())
            .filter(|i| options.wide || self.column_definitions[*i].priority == 0)
            .collect();
        let mut lines = Vec::new();
        if !options.without_headers {
            let header = shown.iter().map(|i| self.column_definitions[*i].name.to_uppercase());
            lines.push(self.line(options, "NAMESPACE", "LABELS", header.collect()));
        }
        for row in &self.rows {
            let cells = shown.iter().map(|i| {
                let text = row.cells.get(*i).map(cell).unwrap_or_default();
                let is_name = self.column_definitions[*i].name.eq_ignore_ascii_case("name");
                if is_name { format!("{}{text}", options.prefix) } else { text }
            });
            let metadata = &row.object["metadata"];
            let namespace = metadata["namespace"].as_str().unwrap_or_default();
            lines.push(self.line(options, namespace, &labels(metadata), cells.collect()));
        }
        lines
    }

    #[expect(clippy::unused_self, reason = "reads as part of the table")]
    fn line(
        &self,
        options: TableOptions<'_>,
        namespace: &str,
        labels: &str,
        mut cells: Vec<String>,
    ) -> Vec<String> {
        if options.with_namespace {
            cells.insert(0, namespace.to_owned());
        }
        if options.with_labels {
            cells.push(labels.to_owned());
        }
        cells
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn labels(metadata: &Value) -> String {
    let labels = metadata["labels"].as_object().filter(|labels| !labels.is_empty());
    labels.map_or("<none>".to_owned(), |labels| {
        let pair = |(name, value): (&String, &Value)| {
            format!("{name}={}", value.as_str().unwrap_or_default())
        };
        labels.iter().map(pair).collect::<Vec<_>>().join(",")
    })
}

/// Aligns lines of cells; the last column is not padded.
pub(crate) fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|c| c.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let padding = if column + 1 == line.len() { 0 } else { widths[column] + GAP };
            let _ = write!(text, "{cell:<padding$}");
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ServerTable {
        serde_json::from_value(serde_json::json!({
            "columnDefinitions": [
                {"name": "Name", "type": "string"},
                {"name": "Ready", "type": "string"},
                {"name": "IP", "type": "string", "priority": 1},
                {"name": "Restarts", "type": "integer"},
            ],
            "rows": [
                {"cells": ["web-a", "1/1", "10.42.0.2", 0],
                 "object": {"metadata": {"namespace": "shop", "labels": {"app": "web"}}}},
                {"cells": ["b", "0/1", null, 12], "object": {"metadata": {"namespace": "shop"}}},
            ],
        }))
        .unwrap()
    }

    fn check(options: TableOptions<'_>, expected: &str) {
        assert_eq!(columns(&sample().text(options)), expected);
    }

    #[test]
    fn only_columns_of_priority_zero_are_shown_by_default() {
        check(
            TableOptions::default(),
            "NAME    READY   RESTARTS\nweb-a   1/1     0\nb       0/1     12\n",
        );
    }

    #[test]
    fn everything_can_be_asked_for() {
        check(
            TableOptions {
                wide: true,
                with_namespace: true,
                with_labels: true,
                without_headers: true,
                prefix: "pod/",
            },
            "shop   pod/web-a   1/1   10.42.0.2   0    app=web\n\
             shop   pod/b       0/1   <none>      12   <none>\n",
        );
    }
}
