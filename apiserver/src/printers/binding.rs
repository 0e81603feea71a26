//! RoleBindings and ClusterRoleBindings.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column, wide};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Role"),
        column("Age"),
        wide("Users"),
        wide("Groups"),
        wide("ServiceAccounts"),
    ],
    cells: |binding, now| {
        let role = &binding["roleRef"];
        let text = |field: &str| role[field].as_str().unwrap_or_default();
        vec![
            meta::name(binding).into(),
            format!("{}/{}", text("kind"), text("name")).into(),
            age_of(binding, now),
            subjects(binding, "User"),
            subjects(binding, "Group"),
            subjects(binding, "ServiceAccount"),
        ]
    },
};

fn subjects(binding: &Value, kind: &str) -> Value {
    let all = binding["subjects"].as_array().into_iter().flatten();
    let names: Vec<String> = all
        .filter(|subject| subject["kind"] == kind)
        .map(|subject| {
            let text = |field: &str| subject[field].as_str().unwrap_or_default();
            match kind {
                "ServiceAccount" => format!("{}/{}", text("namespace"), text("name")),
                _ => text("name").to_owned(),
            }
        })
        .collect();
    names.join(", ").into()
}
