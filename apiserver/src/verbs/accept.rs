//! In which form the client wants its answer.
//!
//! What is stored is JSON, so whoever likes JSON as much as anything else gets JSON; protobuf is
//! for those who take nothing else, or say by a quality (`q`) that they like JSON less.

use std::cmp::Reverse;

use kontiki_api::Status;

use crate::protobuf::MEDIA_TYPE as PROTOBUF;

/// The version of tables and of bare metadata.
const META: &str = "meta.k8s.io/v1";
/// The version before it, the same in all but its name.
const META_BETA: &str = "meta.k8s.io/v1beta1";
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
    /// The version that forms other than the object's own are in.
    pub meta: &'static str,
}

impl Agreed {
    /// The object itself, as it is stored.
    const PLAIN: Agreed = Agreed { form: Form::Object, encoding: Encoding::Json, meta: META };
}

/// Finds the first acceptable form. An absent header accepts everything.
pub fn negotiate(header: &str) -> Result<Agreed, Status> {
    find(header, |_| true).ok_or_else(|| Status::not_acceptable(&OFFERED))
}

/// The same for a watch, which is never YAML.
pub fn negotiate_stream(header: &str) -> Result<Agreed, Status> {
    let found = find(header, |agreed| agreed.encoding != Encoding::Yaml);
    found.ok_or_else(|| Status::not_acceptable(&OFFERED_STREAMS))
}

/// The same for what is no object that could be listed, and has no columns.
pub fn negotiate_answer(header: &str) -> Result<Agreed, Status> {
    let found = find(header, |agreed| agreed.form != Form::Table);
    found.ok_or_else(|| Status::not_acceptable(&OFFERED))
}

/// Whether a client that sends this header gets protobuf.
pub fn gets_protobuf(header: &str) -> bool {
    header.contains(PROTOBUF)
        && find(header, |_| true).is_some_and(|agreed| agreed.encoding == Encoding::Protobuf)
}

/// What is left of a header where a kind has no message.
pub fn without_protobuf(header: &str) -> Result<String, Status> {
    let is_other = |offer: &&str| offer.split(';').next().map(str::trim) != Some(PROTOBUF);
    let rest = header.split(',').filter(is_other).collect::<Vec<_>>().join(",");
    let left = !rest.trim().is_empty() && find(&rest, |_| true).is_some();
    left.then_some(rest).ok_or_else(|| Status::not_acceptable(&OFFERED[..2]))
}

fn find(header: &str, serves: fn(Agreed) -> bool) -> Option<Agreed> {
    if header.trim().is_empty() {
        return Some(Agreed::PLAIN);
    }
    let can_be = |offer: &Offer| {
        // There is no such message.
        let is_message = offer.agreed.form != Form::Table;
        serves(offer.agreed) && (is_message || offer.agreed.encoding != Encoding::Protobuf)
    };
    let mut offers: Vec<Offer> = header.split(',').filter_map(read).filter(can_be).collect();
    // The liked ones first, and of those the ones that are named; otherwise as they stand.
    offers.sort_by_key(|offer| (Reverse(offer.quality), offer.is_wild));
    let best = offers.first()?.quality;
    let mut liked = offers.iter().take_while(|offer| offer.quality == best);
    let other = liked.find(|offer| offer.agreed.encoding != Encoding::Protobuf);
    Some(other.unwrap_or(&offers[0]).agreed)
}

/// One offer of a header.
struct Offer {
    agreed: Agreed,
    /// How much it is liked, in thousandths.
    quality: u16,
    /// Whether it names no media type.
    is_wild: bool,
}

/// Reads an offer of the header, if it is one that can be kept.
fn read(offer: &str) -> Option<Offer> {
    let mut parts = offer.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let encoding = match media_type {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        PROTOBUF => Encoding::Protobuf,
        _ => return None,
    };
    let parameters: Vec<(&str, &str)> =
        parts.filter_map(|parameter| parameter.split_once('=')).collect();
    let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
    let meta = if value("v") == Some("v1beta1") { META_BETA } else { META };
    let form = match value("as") {
        None => Form::Object,
        Some(_) if value("g") != Some("meta.k8s.io") => return None,
        Some(_) if !matches!(value("v"), Some("v1" | "v1beta1")) => return None,
        Some("Table") => Form::Table,
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::Metadata,
        Some(_) => return None,
    };
    let quality = value("q").map_or(1000, thousandths);
    let agreed = Agreed { form, encoding, meta };
    Some(Offer { agreed, quality, is_wild: media_type.ends_with('*') })
}

/// A quality; what cannot be read is not liked at all, as upstream.
fn thousandths(quality: &str) -> u16 {
    let number = quality.parse::<f64>().unwrap_or(0.0).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 1000"
    )]
    let thousandths = (number * 1000.0) as u16;
    thousandths
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
        let encoding = |header: &str| form(header).map(|(_, encoding)| encoding);
        let liked = format!("application/json;q=0.5,{protobuf}");
        assert_eq!(encoding(&liked), Some(Encoding::Protobuf));
        assert_eq!(encoding(&format!("{protobuf};q=0.9,*/*;q=0.9")), Some(Encoding::Json));
        assert_eq!(encoding("application/json;q=0.8,application/yaml"), Some(Encoding::Yaml));
        assert_eq!(encoding("*/*,application/yaml"), Some(Encoding::Yaml));
        assert_eq!(encoding("application/yaml;q=x,application/json;q=0.1"), Some(Encoding::Json));
        assert_eq!(without_protobuf(&liked).as_deref(), Ok("application/json;q=0.5"));
        assert!(without_protobuf(protobuf).is_err());
        assert_eq!(form("text/html"), None);
        assert_eq!(form("application/cbor"), None);
    }

    #[test]
    fn what_is_no_object_is_no_table() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let refused = negotiate_answer(table).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (
                406,
                "only the following media types are accepted: application/json, \
                 application/yaml, application/vnd.kubernetes.protobuf"
            )
        );
        let agreed = negotiate_answer(&format!("{table},application/json")).unwrap();
        assert_eq!(agreed.form, Form::Object);
    }

    #[test]
    fn forms_come_in_the_version_that_is_asked_for() {
        let meta = |version: &str| {
            let accept = format!("application/json;as=Table;v={version};g=meta.k8s.io");
            negotiate(&accept).map(|agreed| agreed.meta).ok()
        };
        assert_eq!(meta("v1"), Some("meta.k8s.io/v1"));
        assert_eq!(meta("v1beta1"), Some("meta.k8s.io/v1beta1"));
        assert_eq!(meta("v2"), None);
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
