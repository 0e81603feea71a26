//! PodDisruptionBudgets.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column, number};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Min Available"),
        column("Max Unavailable"),
        number("Allowed Disruptions"),
        column("Age"),
    ],
    cells: |budget, now| {
        let share = |field: &str| match &budget["spec"][field] {
            Value::Null => "N/A".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        vec![
            meta::name(budget).into(),
            share("minAvailable").into(),
            share("maxUnavailable").into(),
            budget["status"]["disruptionsAllowed"].as_i64().unwrap_or_default().into(),
            age_of(budget, now),
        ]
    },
};
