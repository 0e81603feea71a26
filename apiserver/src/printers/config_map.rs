//! ConfigMaps.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Data"), column("Age")],
    cells: |map, now| {
        let count = |field: &str| map[field].as_object().map_or(0, |data| data.len());
        let total = count("data") + count("binaryData");
        vec![meta::name(map).into(), Value::from(total), age_of(map, now)]
    },
};
