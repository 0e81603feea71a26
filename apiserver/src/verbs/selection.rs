//! Which objects of a resource a list or watch is about.

use kontiki_api::{
    Status, catalogue,
    selector::{FieldSelector, Selector},
};

use crate::{cache::object::Object, exchange::Exchange};

/// A namespace (or all) and two selectors.
#[derive(Clone, Debug)]
pub struct Selection {
    /// What keys start with: `NAMESPACE/`, or nothing.
    pub prefix: String,
    /// By label.
    pub labels: Selector,
    /// By field.
    pub fields: FieldSelector,
}

impl Selection {
    /// Reads namespace and selectors of a request.
    pub fn of(exchange: &Exchange, row: &catalogue::Row) -> Result<Selection, Status> {
        let text = |name: &str| exchange.query.get(name).unwrap_or_default();
        let labels = Selector::parse(text("labelSelector"))
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let fields = FieldSelector::parse(text("fieldSelector"))
            .map_err(|error| Status::bad_request(error.to_string()))?;
        for requirement in &fields.requirements {
            if !row.selects_by(&requirement.field) {
                let message = row.unknown_field_message(&requirement.field);
                return Err(Status::bad_request(message));
            }
        }
        let namespace = if row.namespaced() { exchange.info.namespace.as_str() } else { "" };
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        Ok(Selection { prefix, labels, fields })
    }

    /// Whether it is only a matter of namespace.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is selected.
    pub fn selects(&self, object: &Object) -> bool {
        object.key.starts_with(self.prefix.as_str())
            && self.labels.matches(&object.labels)
            && self.fields.requirements.iter().all(|wanted| {
                let value = object.field(&wanted.field).unwrap_or_default();
                (value == wanted.value) == wanted.equal
            })
    }
}
