//! In which form the client wants its answer.
//!
//! What is stored is JSON, so whoever takes JSON gets JSON, whatever else they prefer; protobuf is
//! for those who take nothing else.

use kontiki_api::Status;

use crate::protobuf::MEDIA_TYPE as PROTOBUF;

/// Media types that can be produced.
const OFFERED: [&str; 3] = ["application/json", "application/yaml", PROTOBUF];
/// Those of them that watches can be sent in.
const OFFERED_STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

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

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The form.
    pub form: Form,
    /// How it is written.
    pub encoding: Encoding,
}

/// Finds the first acceptable form. An absent header accepts everything.
pub fn negotiate(header: &str) -> Result<Agreed, Status> {
    find(header, true).ok_or_else(|| Status::not_acceptable(&OFFERED))
}

/// The same for a watch, which is never YAML.
pub fn negotiate_stream(header: &str) -> Result<Agreed, Status> {
    find(header, false).ok_or_else(|| Status::not_acceptable(&OFFERED_STREAMS))
}

/// Whether a client that sends this header takes protobuf and nothing else that we have.
pub fn only_protobuf(header: &str) -> bool {
    header.contains(PROTOBUF)
        && find(header, true).is_some_and(|agreed| agreed.encoding == Encoding::Protobuf)
}

/// What a client is told that takes only protobuf, of a kind that has no message.
pub fn no_message() -> Status {
    Status::not_acceptable(&OFFERED[..2])
}

fn find(header: &str, yaml: bool) -> Option<Agreed> {
    if header.trim().is_empty() {
        return Some(Agreed { form: Form::Object, encoding: Encoding::Json });
    }
    let mut offers = header.split(',').filter_map(read).filter(|agreed| match agreed.encoding {
        Encoding::Json => true,
        Encoding::Yaml => yaml,
        // There is no such message.
        Encoding::Protobuf => agreed.form != Form::Table,
    });
    let first = offers.next()?;
    if first.encoding != Encoding::Protobuf {
        return Some(first);
    }
    offers.find(|agreed| agreed.encoding != Encoding::Protobuf).or(Some(first))
}

/// One offer of the header, if it is one that can be kept.
fn read(offer: &str) -> Option<Agreed> {
    let mut parts = offer.split(';').map(str::trim);
    let encoding = match parts.next().unwrap_or_default() {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        PROTOBUF => Encoding::Protobuf,
        _ => return None,
    };
    let parameters: Vec<(&str, &str)> =
        parts.filter_map(|parameter| parameter.split_once('=')).collect();
    let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
    let form = match value("as") {
        None => Form::Object,
        Some(_) if value("g") != Some("meta.k8s.io") => return None,
        Some(_) if !matches!(value("v"), Some("v1" | "v1beta1")) => return None,
        Some("Table") => Form::Table,
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::Metadata,
        Some(_) => return None,
    };
    Some(Agreed { form, encoding })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_form_wins_and_json_goes_before_protobuf() {
        let form =
            |header: &str| negotiate(header).map(|agreed| (agreed.form, agreed.encoding)).ok();
        assert_eq!(form(""), Some((Form::Object, Encoding::Json)));
        assert_eq!(form("application/yaml"), Some((Form::Object, Encoding::Yaml)));
        assert_eq!(
            form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            Some((Form::Table, Encoding::Json))
        );
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Some((Form::Metadata, Encoding::Json))
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf, application/json"),
            Some((Form::Object, Encoding::Json))
        );
        let protobuf = "application/vnd.kubernetes.protobuf";
        assert_eq!(form(protobuf), Some((Form::Object, Encoding::Protobuf)));
        assert_eq!(
            form(&format!(
                "{protobuf};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;\
                 as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
            )),
            Some((Form::Metadata, Encoding::Json))
        );
        assert_eq!(form(&format!("{protobuf};as=Table;g=meta.k8s.io;v=v1")), None);
        assert_eq!(form("text/html"), None);
        assert_eq!(form("application/cbor"), None);
    }

    #[test]
    fn a_watch_is_never_yaml() {
        let refused = negotiate_stream("application/yaml").unwrap_err();
        assert_eq!(
            refused.message,
            "only the following media types are accepted: application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch"
        );
        let agreed = negotiate_stream("application/vnd.kubernetes.protobuf;stream=watch").unwrap();
        assert_eq!(agreed.encoding, Encoding::Protobuf);
    }
}
