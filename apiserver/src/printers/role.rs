//! Roles and ClusterRoles.

use kontiki_api::meta;

use super::{Printer, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Created At")],
    cells: |role, _| vec![meta::name(role).into(), meta::text(role, "creationTimestamp").into()],
};
