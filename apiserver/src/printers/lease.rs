//! Leases.

use kontiki_api::meta;

use super::{Printer, age_of, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Holder"), column("Age")],
    cells: |lease, now| {
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        vec![meta::name(lease).into(), holder.into(), age_of(lease, now)]
    },
};
