//! What is asked for but never stored: Bindings and ComponentStatuses.

use super::declared::{Declared, PLAIN};

/// The strategy of `bindings` and `componentstatuses`.
pub(super) static STRATEGY: Declared = PLAIN;
