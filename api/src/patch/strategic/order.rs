//! In which order a merged list stands.
//!
//! What the patch names stands in the patch's order; what only the server has keeps the server's
//! order; between the two, an item of the server stays in front of those it stood in front of,
//! and behind those that are new.

use serde_json::Value;

/// Puts merged items in order. `order` is the patch's, `before` the list before the patch.
pub(super) fn settle(
    merged: Vec<Value>,
    order: &[Value],
    before: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|known| same(known, item));
    let (mut ours, theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(order, item).is_some());
    ours.sort_by_key(|item| place(order, item));
    let mut settled = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
        let stood_in_front = match (place(before, their), place(before, our)) {
            (Some(their), Some(our)) => their < our,
            _ => false,
        };
        settled.extend(if stood_in_front { theirs.next() } else { ours.next() });
    }
    settled.extend(ours);
    settled.extend(theirs);
    settled
}
