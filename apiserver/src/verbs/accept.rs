//! In which form the client wants its answer.

use kontiki_api::Status;

/// Media types that can be produced.
const OFFERED: [&str; 2] = ["application/json", "application/yaml"];

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The object or list itself.
    Object,
    /// A table with printed columns.
    Table,
    /// Only the metadata.
    Metadata,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The form.
    pub form: Form,
    /// Whether it is written as YAML.
    pub yaml: bool,
}

/// Finds the first acceptable form. An absent header accepts everything.
pub fn negotiate(header: &str) -> Result<Agreed, Status> {
    let json = Agreed { form: Form::Object, yaml: false };
    if header.trim().is_empty() {
        return Ok(json);
    }
    for offer in header.split(',') {
        let mut parts = offer.split(';').map(str::trim);
        let yaml = match parts.next().unwrap_or_default() {
            "application/json" | "*/*" | "application/*" => false,
            "application/yaml" => true,
            _ => continue,
        };
        let parameters: Vec<(&str, &str)> =
            parts.filter_map(|parameter| parameter.split_once('=')).collect();
        let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
        let form = match value("as") {
            None => Form::Object,
            Some(_) if value("g") != Some("meta.k8s.io") => continue,
            Some(_) if !matches!(value("v"), Some("v1" | "v1beta1")) => continue,
            Some("Table") => Form::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::Metadata,
            Some(_) => continue,
        };
        return Ok(Agreed { form, yaml });
    }
    Err(Status::not_acceptable(&OFFERED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_form_wins() {
        let form = |header: &str| negotiate(header).map(|agreed| (agreed.form, agreed.yaml)).ok();
        assert_eq!(form(""), Some((Form::Object, false)));
        assert_eq!(form("application/yaml"), Some((Form::Object, true)));
        assert_eq!(
            form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            Some((Form::Table, false))
        );
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Some((Form::Metadata, false))
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf, application/json"),
            Some((Form::Object, false))
        );
        assert_eq!(form("application/vnd.kubernetes.protobuf"), None);
    }
}
