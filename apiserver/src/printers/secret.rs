//! Secrets.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Type"), column("Data"), column("Age")],
    cells: |secret, now| {
        let count = secret["data"].as_object().map_or(0, |data| data.len());
        let kind = secret["type"].as_str().unwrap_or_default();
        vec![meta::name(secret).into(), kind.into(), Value::from(count), age_of(secret, now)]
    },
};
