//! Which objects of a resource a list or watch is about.

use kontiki_api::{
    Status, catalogue,
    selector::{FieldSelector, Operator, Selector},
};

use crate::{
    cache::{interest::Interest, object::Object},
    exchange::Exchange,
};

/// A namespace (or all) and two selectors.
#[derive(Clone, Debug)]
pub struct Selection {
    /// What keys start with: `NAMESPACE/`, or nothing.
    pub prefix: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
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
        Ok(Selection { prefix, namespaced: row.namespaced(), labels, fields })
    }

    /// The key of the only object that can be selected, if it is named.
    fn key(&self) -> Option<String> {
        let name = self.fields.exact("metadata.name")?;
        let one = !self.namespaced || !self.prefix.is_empty();
        one.then(|| format!("{}{name}", self.prefix))
    }

    /// What the keys of all that can be selected start with.
    pub fn narrowest_prefix(&self) -> String {
        self.key().unwrap_or_else(|| self.prefix.clone())
    }

    /// The narrowest thing that everything selected has in common.
    pub fn interest(&self) -> Interest {
        if let Some(key) = self.key() {
            return Interest::Key(key);
        }
        let namespace = self.prefix.strip_suffix('/').or(self.fields.exact("metadata.namespace"));
        let named = self.fields.exact("metadata.name").map(|name| Interest::Name(name.to_owned()));
        let mut fields = self.fields.requirements.iter().filter(|one| {
            one.equal && !matches!(one.field.as_str(), "metadata.name" | "metadata.namespace")
        });
        let field = || {
            fields.next().map(|one| Interest::Field(one.field.clone().into(), one.value.clone()))
        };
        let label = || {
            let Selector::Requirements(requirements) = &self.labels else { return None };
            requirements.iter().find_map(|one| match (one.operator, one.values.first()) {
                (Operator::In, Some(value)) if one.values.len() == 1 => {
                    Some(Interest::Label(one.key.clone(), value.clone()))
                }
                _ => None,
            })
        };
        let namespace = || namespace.map(|namespace| Interest::Namespace(namespace.to_owned()));
        named.or_else(field).or_else(label).or_else(namespace).unwrap_or(Interest::All)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_woken_for_the_narrowest_thing_it_has_in_common() {
        let check = |namespace: &str, fields: &str, labels: &str, expected: Interest| {
            let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
            let selection = Selection {
                prefix,
                namespaced: true,
                labels: Selector::parse(labels).unwrap(),
                fields: FieldSelector::parse(fields).unwrap(),
            };
            assert_eq!(selection.interest(), expected, "{namespace} {fields} {labels}");
        };
        let text = str::to_owned;
        let node = || Interest::Field("spec.nodeName".into(), text("n1"));
        check("", "", "", Interest::All);
        check("", "spec.nodeName!=n1", "a!=b,c in (d,e),f", Interest::All);
        check("a", "", "", Interest::Namespace(text("a")));
        check("a", "metadata.name=x", "", Interest::Key(text("a/x")));
        check("", "metadata.name=x", "", Interest::Name(text("x")));
        check("", "metadata.namespace=a", "", Interest::Namespace(text("a")));
        check("", "spec.nodeName=n1", "app=web", node());
        check("a", "spec.nodeName=n1", "", node());
        check("a", "", "app in (web),b", Interest::Label(text("app"), text("web")));
    }
}
