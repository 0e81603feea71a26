//! What many validators check, with the errors they gather.

use std::{borrow::Cow, collections::BTreeMap};

use kontiki_api::{
    Object,
    field::{Error, Errors, Path},
    k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
    names,
    quantity::Quantity,
    typed as read,
};
use serde_json::Value;

use super::place::Place;

/// A validator of names.
pub(super) type NameRule = fn(&str) -> Vec<String>;

/// Validates a name, or a prefix of one, by a rule.
pub(super) fn name_with(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    if prefix { rule(&names::mask_trailing_dash(name)) } else { rule(name) }
}

/// The number before a percent sign.
pub(super) fn percent(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A quantity as it was written: text, or a bare number.
pub(super) fn amount_text(amount: &Value) -> Cow<'_, str> {
    match amount {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Validates an object as a struct. A decoded object that cannot be read as one is our mistake.
pub(super) fn typed<T: Object>(object: &Value, validate: impl FnOnce(&T, &mut Check)) -> Errors {
    let mut check = Check::default();
    match T::read(object) {
        Ok(read) => validate(&read, &mut check),
        Err(error) => {
            check.errors.push(Error::invalid(&Path::root(), Value::Null, error.to_string()));
        }
    }
    check.errors
}

/// Validates an object and what it was before as structs.
pub(super) fn typed_pair<T: Object>(
    object: &Value,
    old: &Value,
    validate: impl FnOnce(&T, &T, &mut Check),
) -> Errors {
    typed(object, |new: &T, check| match T::read(old) {
        Ok(old) => validate(new, &old, check),
        Err(error) => {
            check.errors.push(Error::invalid(&Path::root(), Value::Null, error.to_string()));
        }
    })
}

/// The errors found so far, and the checks that add to them.
#[derive(Default)]
pub(super) struct Check {
    pub(super) errors: Errors,
}

impl Check {
    pub(super) fn push(&mut self, error: Error) {
        self.errors.push(error);
    }

    pub(super) fn invalid(&mut self, at: &Path, value: impl Into<Value>, detail: &str) {
        self.push(Error::invalid(at, value, detail));
    }

    pub(super) fn required(&mut self, at: &Path, detail: &str) {
        self.push(Error::required(at, detail));
    }

    pub(super) fn forbidden(&mut self, at: &Path, detail: &str) {
        self.push(Error::forbidden(at, detail));
    }

    /// A text that must be there and follow a rule.
    pub(super) fn named(&mut self, at: &Path, text: &str, rule: NameRule) {
        if text.is_empty() {
            self.required(at, "");
        } else {
            self.optional_named(at, Some(text), rule);
        }
    }

    /// A text that must follow a rule if it is there.
    pub(super) fn optional_named(&mut self, at: &Path, text: Option<&str>, rule: NameRule) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.errors.invalid_each(at, text, rule(text));
        }
    }

    /// A text that must be one of the known ones.
    pub(super) fn one_of(&mut self, at: &Path, text: &str, known: &[&str]) {
        if !known.contains(&text) {
            self.push(Error::not_supported(at, text, known));
        }
    }

    /// A number that may not be negative.
    pub(super) fn not_negative(&mut self, at: &Path, number: Option<impl Into<i64>>) {
        if let Some(number) = number.map(Into::into).filter(|number| *number < 0) {
            self.invalid(at, number, names::NEGATIVE);
        }
    }

    /// A port number.
    pub(super) fn port(&mut self, at: &Path, port: i32) {
        for message in names::port_number(port.into()) {
            self.invalid(at, port, &message);
        }
    }

    /// A quantity that may not be negative; `None` if it is none at all.
    pub(super) fn quantity(&mut self, at: &Path, text: &str) -> Option<Quantity> {
        match Quantity::parse(text) {
            Ok(quantity) => {
                if quantity.is_negative() {
                    self.invalid(at, text, names::NEGATIVE);
                }
                Some(quantity)
            }
            Err(error) => {
                self.invalid(at, text, &error.to_string());
                None
            }
        }
    }

    /// Labels of any object.
    pub(super) fn labels(&mut self, at: &Path, labels: Option<&BTreeMap<String, String>>) {
        for (key, value) in labels.into_iter().flatten() {
            self.errors.invalid_each(at, key, names::qualified_name(key));
            self.errors.invalid_each(at, value, names::label_value(value));
        }
    }

    /// Annotations of any object.
    pub(super) fn annotations(&mut self, at: &Path, all: Option<&BTreeMap<String, String>>) {
        const BYTES_MAX: usize = 256 << 10;
        let mut total = 0;
        for (key, value) in all.into_iter().flatten() {
            // Upper case was always allowed in annotations.
            self.errors.invalid_each(at, key, names::qualified_name(&key.to_lowercase()));
            total += key.len() + value.len();
        }
        if total > BYTES_MAX {
            self.push(Error::too_long(at, BYTES_MAX));
        }
    }

    /// A typed label selector.
    pub(super) fn selector(&mut self, at: &Path, selector: &LabelSelector) {
        self.labels(&at.child("matchLabels"), selector.match_labels.as_ref());
        let expressions = selector.match_expressions.iter().flatten();
        for (index, expression) in expressions.enumerate() {
            self.expression(&at.child("matchExpressions").index(index), expression);
        }
    }

    fn expression(&mut self, at: &Path, expression: &LabelSelectorRequirement) {
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => self.required(
                &at.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => self.forbidden(
                &at.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => self.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        let key = &expression.key;
        self.errors.invalid_each(&at.child("key"), key, names::qualified_name(key));
        for (index, value) in values.iter().enumerate() {
            let at = at.child("values").index(index);
            self.errors.invalid_each(&at, value, names::label_value(value));
        }
    }

    /// A number that may not be negative.
    pub(super) fn counts(&mut self, parent: &Place<'_>, fields: &[&str]) {
        for field in fields {
            let place = parent.at(field);
            self.not_negative(&place.path, place.number());
        }
    }

    /// A text that must be there and be one of the known ones.
    pub(super) fn chosen(&mut self, place: &Place<'_>, known: &[&str]) {
        if place.is_empty() {
            self.required(&place.path, "");
        } else {
            self.one_of(&place.path, place.text(), known);
        }
    }

    /// A text that must be one of the known ones if it is there.
    pub(super) fn chosen_if_set(&mut self, place: &Place<'_>, known: &[&str]) {
        if place.is_set() {
            self.one_of(&place.path, place.text(), known);
        }
    }

    /// A label selector as JSON; `None` if it is none.
    pub(super) fn selects(&mut self, place: &Place<'_>) -> Option<LabelSelector> {
        match read::label_selector(place.value) {
            Ok(selector) => {
                self.selector(&place.path, &selector);
                Some(selector)
            }
            Err(error) => {
                self.invalid(&place.path, place.value.clone(), &error.to_string());
                None
            }
        }
    }

    /// A place whose value may not change.
    pub(super) fn fixed(&mut self, new: &Place<'_>, old: &Place<'_>) {
        if new.value != old.value && !(new.is_empty() && old.is_empty()) {
            self.push(Error::immutable(&new.path, new.value.clone()));
        }
    }

    /// Amounts of resources, none negative.
    pub(super) fn amounts(&mut self, place: &Place<'_>) {
        for (name, amount) in place.entries() {
            self.errors.invalid_each(&amount.path, name, names::qualified_name(name));
            self.quantity(&amount.path, &amount_text(amount.value));
        }
    }

    /// A count or a percentage.
    pub(super) fn share(&mut self, place: &Place<'_>) {
        const PERCENT: &str = "a valid percent string must be a numeric string followed by an \
                               ending '%' (e.g. '1%',  or '93%', regex used for validation is \
                               '[0-9]+%')";
        match place.value {
            Value::String(text) if percent(text).is_none() => {
                self.invalid(&place.path, text.as_str(), PERCENT);
            }
            Value::Number(_) => self.not_negative(&place.path, place.number()),
            _ => {}
        }
    }

    /// A percentage that may not exceed 100.
    pub(super) fn not_above_all(&mut self, place: &Place<'_>) {
        if percent(place.text()).is_some_and(|percent| percent > 100) {
            self.invalid(&place.path, place.text(), "must not be greater than 100%");
        }
    }

    /// A field that may not change.
    pub(super) fn immutable<T: PartialEq + serde::Serialize>(
        &mut self,
        at: &Path,
        new: &T,
        old: &T,
    ) {
        if new != old {
            self.push(Error::immutable(at, as_value(new)));
        }
    }
}

/// A part of a struct, or its default: read, never copied.
pub(super) fn or_default<T: Clone + Default>(part: Option<&T>) -> Cow<'_, T> {
    part.map_or_else(|| Cow::Owned(T::default()), Cow::Borrowed)
}

/// A part of a struct as JSON, for messages.
pub(super) fn as_value(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}
