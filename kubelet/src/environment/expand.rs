//! `$(NAME)` in values, commands and arguments.

/// Replaces `$(NAME)` by what `lookup` knows; unknown names stay as they are, `$$` is a `$`.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest.strip_prefix("$(").and_then(|inner| inner.split_once(')'));
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = reference {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[..name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// The first name that `lookup` does not know.
pub fn unknown(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    let missing = std::cell::RefCell::new(None);
    expand(text, |name| {
        let found = lookup(name);
        if found.is_none() {
            missing.borrow_mut().get_or_insert_with(|| name.to_owned());
        }
        found
    });
    missing.into_inner()
}

#[cfg(test)]
mod tests {
    use super::{expand, unknown};

    #[test]
    fn what_is_unknown_is_named() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(unknown("$(A)/$$(B)", lookup), None);
        assert_eq!(unknown("$(A)/$(B)/$(C)", lookup), Some("B".to_owned()));
    }

    #[test]
    fn only_known_references_are_replaced() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A $( $(A", "$A $( $(A"),
            ("$$$(A)", "$1"),
            ("100$", "100$"),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }
}
