//! What is going on, as upstream's debugging endpoints tell it:
//! `/debug/api_priority_and_fairness/dump_priority_levels` and `dump_queues`.

use std::fmt::Write as _;

use super::{Compiled, FlowControl, queues::Summary};

const LEVELS: [&str; 6] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
];
const QUEUES: [&str; 6] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
];

impl FlowControl {
    /// A dump by its name.
    pub fn dump(&self, name: &str) -> Option<String> {
        let current = self.current.load();
        match name {
            "dump_priority_levels" => Some(aligned(&LEVELS, levels(&current))),
            "dump_queues" => Some(aligned(&QUEUES, queues(&current))),
            _ => None,
        }
    }
}

/// All levels by name, with what their queues hold.
fn summaries(current: &Compiled) -> Vec<(&str, Option<Vec<Summary>>)> {
    let levels = current.levels.iter();
    let mut all: Vec<_> = levels
        .map(|(name, level)| {
            (name.as_str(), level.queues.as_ref().map(|queues| queues.lock().summaries()))
        })
        .collect();
    all.sort_by_key(|(name, _)| *name);
    all
}

fn levels(current: &Compiled) -> Vec<Vec<String>> {
    let row = |(name, queues): (&str, Option<Vec<Summary>>)| {
        let Some(queues) = queues else {
            let unknown = ["<none>"; 5].map(str::to_owned);
            return [vec![name.to_owned()], unknown.to_vec()].concat();
        };
        let waiting: usize = queues.iter().map(|queue| queue.waiting).sum();
        let serving: usize = queues.iter().map(|queue| queue.serving).sum();
        vec![
            name.to_owned(),
            queues.len().to_string(),
            queues.is_empty().to_string(),
            false.to_string(),
            waiting.to_string(),
            serving.to_string(),
        ]
    };
    summaries(current).into_iter().map(row).collect()
}

fn queues(current: &Compiled) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, queues) in summaries(current) {
        rows.extend(queues.into_iter().flatten().map(|queue| {
            vec![
                name.to_owned(),
                queue.number.to_string(),
                queue.waiting.to_string(),
                queue.serving.to_string(),
                queue.seats.to_string(),
                format!("{:.8}ss", queue.next),
            ]
        }));
    }
    rows
}

/// Columns behind commas, one below the other.
fn aligned(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|column| (*column).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let last = rows[0].len() - 1;
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            if column == last {
                let _ = writeln!(out, "{cell}");
            } else {
                let _ = write!(out, "{:<width$}", format!("{cell},"), width = width(column));
            }
        }
    }
    out
}
