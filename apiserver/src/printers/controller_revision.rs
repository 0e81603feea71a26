//! ControllerRevisions.

use kontiki_api::meta;

use super::{Printer, age_of, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Controller"), column("Revision"), column("Age")],
    cells: |revision, now| {
        let controller = meta::controller_of(revision).map(|owner| {
            let text = |field: &str| owner[field].as_str().unwrap_or_default();
            let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
            let kind = text("kind").to_lowercase();
            let kind = if group.is_empty() { kind } else { format!("{kind}.{group}") };
            format!("{kind}/{}", text("name"))
        });
        vec![
            meta::name(revision).into(),
            controller.unwrap_or_else(|| "<none>".to_owned()).into(),
            revision["revision"].as_i64().unwrap_or_default().into(),
            age_of(revision, now),
        ]
    },
};
