//! CustomResourceDefinitions.

use kontiki_api::meta;

use super::{Printer, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Created At")],
    cells: |definition, _| {
        let created = meta::text(definition, "creationTimestamp");
        vec![meta::name(definition).into(), created.into()]
    },
};
