//! What others own and an apply would change.

use super::entries::{Id, Operation};
use crate::{
    fields::Path,
    status::{Cause, Status},
};

/// One field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: Id,
    /// What.
    pub path: Path,
}

/// The refusal of an apply that conflicts, as upstream words it: one conflict in a line, several
/// under their managers.
pub(super) fn status(conflicts: &[Conflict]) -> Status {
    let causes = conflicts
        .iter()
        .map(|conflict| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", shown(&conflict.manager)),
            field: conflict.path.to_string(),
        })
        .collect();
    Status::apply_conflict(causes, message(conflicts))
}

fn message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        let who = shown(&only.manager);
        return format!("Apply failed with 1 conflict: conflict with {who}: {}", only.path);
    }
    let mut managers: Vec<&Id> = conflicts.iter().map(|conflict| &conflict.manager).collect();
    managers.sort();
    managers.dedup();
    let mut lines = Vec::new();
    for manager in managers {
        lines.push(format!("conflicts with {}:", shown(manager)));
        let of_manager = conflicts.iter().filter(|conflict| conflict.manager == *manager);
        lines.extend(of_manager.map(|conflict| format!("- {}", conflict.path)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

fn shown(id: &Id) -> String {
    let mut shown = format!("{:?}", id.manager);
    if !id.subresource.is_empty() {
        shown.push_str(&format!(" with subresource {:?}", id.subresource));
    }
    if id.operation == Operation::Update {
        shown.push_str(&format!(" using {}", id.api_version));
    }
    shown
}
