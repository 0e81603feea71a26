//! Scales, whatever they are the size of.

use kontiki_api::meta;

use super::{Printer, age_of, column, number};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), number("Desired"), number("Available"), column("Age")],
    cells: |scale, now| {
        let count = |part: &str| scale[part]["replicas"].as_i64().unwrap_or_default();
        vec![
            meta::name(scale).into(),
            count("spec").into(),
            count("status").into(),
            age_of(scale, now),
        ]
    },
};
