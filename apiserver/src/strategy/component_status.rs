//! ComponentStatuses: read only, and made when asked for.

use super::declared::{Declared, PLAIN};

/// The strategy of `componentstatuses`.
pub(super) static STRATEGY: Declared = Declared { ..PLAIN };
