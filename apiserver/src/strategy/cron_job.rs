//! CronJobs: a Job whenever a schedule says so.

mod schedule;

use kontiki_api::names;
use serde_json::Value;

use super::{
    check::Check,
    declared::{Declared, WANTED},
    job,
    place::Place,
    replica_set, value,
};

/// Names leave room for the suffix of their Jobs' names.
const NAME_MAX: usize = 52;

/// The strategy of `cronjobs`.
pub(super) static STRATEGY: Declared = Declared {
    name: |name| {
        let mut wrong = names::dns1123_subdomain(name);
        if name.len() > NAME_MAX {
            wrong.push(format!("must be no more than {NAME_MAX} characters"));
        }
        wrong
    },
    defaults,
    check,
    ..WANTED
};

fn defaults(object: &mut Value) {
    let spec = value::child_or_new(object, "spec");
    value::default(spec, "concurrencyPolicy", "Allow");
    value::default(spec, "suspend", false);
    value::default(spec, "successfulJobsHistoryLimit", 3);
    value::default(spec, "failedJobsHistoryLimit", 1);
    let template = value::child_or_new(spec, "jobTemplate");
    value::child_or_new(template, "metadata");
    replica_set::template_defaults(value::child_or_new(template, "spec"));
}

fn check(check: &mut Check, cron_job: &Place<'_>) {
    let spec = cron_job.at("spec");
    when(check, &spec);
    check.counts(&spec, &["startingDeadlineSeconds"]);
    check.chosen(&spec.at("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let template = spec.at("jobTemplate");
    let job = template.at("spec");
    job::check_spec(check, &job);
    if job.at("selector").is_set() {
        let selector = job.at("selector");
        check.invalid(&selector.path, selector.value.clone(), "`selector` will be auto-generated");
    }
    if job.at("manualSelector").flag() {
        check.push(kontiki_api::field::Error::not_supported(
            &job.at("manualSelector").path,
            true,
            &["nil", "false"],
        ));
    }
    check.counts(&spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]);
}

fn when(check: &mut Check, spec: &Place<'_>) {
    let schedule = spec.at("schedule");
    let text = schedule.text();
    if text.is_empty() {
        check.required(&schedule.path, "");
    } else {
        if let Err(wrong) = schedule::check(text) {
            check.invalid(&schedule.path, text, &wrong);
        }
        if text.contains("TZ") && spec.at("timeZone").is_set() {
            let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            check.invalid(&schedule.path, text, detail);
        } else if text.contains("TZ") {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            check.invalid(&schedule.path, text, detail);
        }
    }
    let zone = spec.at("timeZone");
    let name = zone.text();
    if !zone.is_set() {
        return;
    }
    if name.is_empty() {
        check.invalid(&zone.path, "", "timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in \
                      https://www.iana.org/time-zones";
        check.invalid(&zone.path, name, detail);
    } else if jiff::tz::TimeZone::get(name).is_err() {
        check.invalid(&zone.path, name, &format!("unknown time zone {name}"));
    }
}
