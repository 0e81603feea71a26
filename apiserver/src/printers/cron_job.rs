//! CronJobs.

use kontiki_api::meta;

use super::{Column, Printer, age, age_of, column, number, wide, workload};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Schedule"),
        column("Timezone"),
        Column { name: "Suspend", kind: "boolean", priority: 0 },
        number("Active"),
        column("Last Schedule"),
        column("Age"),
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells: |cron_job, now| {
        let (spec, status) = (&cron_job["spec"], &cron_job["status"]);
        let job = &spec["jobTemplate"]["spec"];
        let [containers, images] = workload::containers(&job["template"]["spec"]);
        let last = status["lastScheduleTime"].as_str();
        vec![
            meta::name(cron_job).into(),
            spec["schedule"].as_str().unwrap_or_default().into(),
            spec["timeZone"].as_str().unwrap_or("<none>").into(),
            // People and scripts compare the words that Go prints.
            if spec["suspend"] == true { "True" } else { "False" }.into(),
            status["active"].as_array().map_or(0, Vec::len).into(),
            last.map_or_else(|| "<none>".to_owned(), |last| age(last, now)).into(),
            age_of(cron_job, now),
            containers,
            images,
            workload::selector(&job["selector"]),
        ]
    },
};
