//! ServiceAccounts.

use kontiki_api::meta;

use super::{Printer, age_of, column};

pub(super) const PRINTER: Printer = Printer {
    columns: &[column("Name"), column("Age")],
    cells: |account, now| vec![meta::name(account).into(), age_of(account, now)],
};
