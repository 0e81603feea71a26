//! Jobs.

use jiff::Timestamp;
use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column, duration, wide, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Status"),
        column("Completions"),
        column("Duration"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |job, now| {
        let spec = &job["spec"];
        let [containers, images] = workload::containers(&spec["template"]["spec"]);
        vec![
            meta::name(job).into(),
            status(job).into(),
            completions(job).into(),
            took(&job["status"], now).into(),
            age_of(job, now),
            containers,
            images,
            workload::selector(&spec["selector"]),
        ]
    },
};

fn status(job: &Value) -> &'static str {
    let holds = |kind: &str| {
        let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
        conditions.clone().any(|one| one["type"] == kind && one["status"] == "True")
    };
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if meta::is_deleting(job) {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> String {
    let succeeded = job["status"]["succeeded"].as_i64().unwrap_or_default();
    let spec = &job["spec"];
    match (spec["completions"].as_i64(), spec["parallelism"].as_i64()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        _ => format!("{succeeded}/1"),
    }
}

/// From the first pod's start to the end, or until now.
fn took(status: &Value, now: Timestamp) -> String {
    let time = |field: &str| status[field].as_str().and_then(meta::parse_time);
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => duration::human(end.unwrap_or(now).as_second() - start.as_second()),
    }
}
