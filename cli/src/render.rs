//! How data looks on a terminal: tables, trees, YAML. Text in, text out.

mod age;
mod table;
mod tree;

pub(crate) use age::age;
pub(crate) use table::{ServerTable, TableOptions, columns};
pub(crate) use tree::tree;
