//! Certificates as requests ask for them: subject, names and key are the request's own.
//!
//! Who may ask for what is decided by the caller ([`read`] tells what is asked). The certificate is
//! put together here byte by byte, since the library keeps one value per kind of name, and people
//! are in more than one group.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    pem::parse_x509_pem,
    prelude::{FromDer as _, X509Certificate},
    x509::AttributeTypeAndValue,
};

use super::{Authority, Error, failed};

const READ: &str = "read the signing request";

/// What a signing request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// Common name of the subject: the user.
    pub common_name: String,
    /// Organizations of the subject: the groups.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
}

/// Reads a signing request in PEM.
pub fn read(pem: &str) -> Result<Requested, Error> {
    Requested::of(&parse(&der_of(pem)?)?)
}

impl Requested {
    /// Whoever verifies a certificate takes one common name for the user's, and not all take the
    /// same: a subject with two is refused, and so is what only some can read.
    fn of(request: &X509CertificationRequest<'_>) -> Result<Requested, Error> {
        let subject = &request.certification_request_info.subject;
        let mut names = texts(subject.iter_common_name())?;
        if names.len() > 1 {
            let reason = "the subject has more than one common name".to_owned();
            return Err(Error { action: READ, reason });
        }
        let mut found = Requested {
            common_name: names.pop().unwrap_or_default(),
            organizations: texts(subject.iter_organization())?,
            ..Requested::default()
        };
        for extension in extensions(request) {
            if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
                for name in &names.general_names {
                    found.add(name);
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                self.addresses.extend(address.ok());
            }
            _ => {}
        }
    }

    /// The names as a certificate carries them: those that were told, and no others.
    fn names(&self) -> Vec<Vec<u8>> {
        let emails = self.emails.iter().map(|name| tagged(0x81, name.as_bytes()));
        let dns = self.dns_names.iter().map(|name| tagged(0x82, name.as_bytes()));
        let uris = self.uris.iter().map(|name| tagged(0x86, name.as_bytes()));
        let addresses = self.addresses.iter().map(|address| match address {
            IpAddr::V4(v4) => tagged(0x87, &v4.octets()),
            IpAddr::V6(v6) => tagged(0x87, &v6.octets()),
        });
        dns.chain(emails).chain(addresses).chain(uris).collect()
    }
}

fn texts<'a>(
    attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> Result<Vec<String>, Error> {
    attributes.map(|one| one.as_str().map(str::to_owned).map_err(failed(READ))).collect()
}

fn der_of(pem: &str) -> Result<Vec<u8>, Error> {
    let wrong =
        || Error { action: READ, reason: "PEM block type must be CERTIFICATE REQUEST".to_owned() };
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| wrong())?;
    if block.label == "CERTIFICATE REQUEST" { Ok(block.contents) } else { Err(wrong()) }
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, Error> {
    let parsed = X509CertificationRequest::from_der(der);
    parsed.map(|(_, request)| request).map_err(failed(READ))
}

fn extensions<'a>(
    request: &'a X509CertificationRequest<'a>,
) -> impl Iterator<Item = &'a X509Extension<'a>> {
    let attributes = request.certification_request_info.iter_attributes();
    attributes
        .filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(asked) => Some(asked.extensions.iter()),
            _ => None,
        })
        .flatten()
}

/// Since when and until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Since when.
    pub not_before: i64,
    /// Until when; the authority's own end comes first if it is earlier.
    pub not_after: i64,
}

impl Authority {
    /// Signs what a request asks for, for the given usages (by Kubernetes' names of them). Equal
    /// arguments give a certificate of the same serial number.
    pub fn grant(&self, pem: &str, usages: &[&str], validity: Validity) -> Result<String, Error> {
        const ACTION: &str = "sign a certificate";
        let der = der_of(pem)?;
        let request = parse(&der)?;
        request.verify_signature().map_err(failed("verify the request's signature"))?;
        let key = KeyPair::from_pem(&self.key_pem).map_err(failed("read the authority's key"))?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            let reason = "the authority's key is of another kind than ECDSA P-256".to_owned();
            return Err(Error { action: ACTION, reason });
        }
        let own = crate::tls::certificates(&self.certificate_pem)
            .map_err(failed("read the authority's certificate"))?;
        let (_, own) = X509Certificate::from_der(&own[0])
            .map_err(failed("read the authority's certificate"))?;
        let end = own.validity().not_after.timestamp();
        let validity = Validity { not_after: validity.not_after.min(end), ..validity };
        let tbs = to_be_signed(&request, &own, &der, usages, validity)
            .map_err(|reason| Error { action: ACTION, reason })?;
        let signature = key.sign(&tbs).map_err(failed(ACTION))?;
        let mut bits = vec![0];
        bits.extend(signature);
        let certificate = sequence(&[tbs, ecdsa_with_sha256(), tagged(BIT_STRING, &bits)]);
        Ok(pem_of(&certificate))
    }
}

/// When a certificate in PEM ends, in seconds since 1970.
pub fn end_of(certificate_pem: &str) -> Result<i64, Error> {
    const ACTION: &str = "read a certificate";
    let all = crate::tls::certificates(certificate_pem).map_err(failed(ACTION))?;
    let (_, first) = X509Certificate::from_der(&all[0]).map_err(failed(ACTION))?;
    Ok(first.validity().not_after.timestamp())
}

fn to_be_signed(
    request: &X509CertificationRequest<'_>,
    issuer: &X509Certificate<'_>,
    der: &[u8],
    usages: &[&str],
    validity: Validity,
) -> Result<Vec<u8>, String> {
    let info = &request.certification_request_info;
    let mut serial = Sha256::new();
    serial.update(der);
    serial.update(validity.not_before.to_be_bytes());
    serial.update(validity.not_after.to_be_bytes());
    let mut serial = serial.finalize()[..16].to_vec();
    // Positive, and without a leading zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    let times = sequence(&[time(validity.not_before)?, time(validity.not_after)?]);
    let asked = Requested::of(request).map_err(|error| error.reason)?;
    let is_nobodys = info.subject.iter().next().is_none();
    let extensions = certificate_extensions(&asked, is_nobodys, issuer, usages)?;
    Ok(sequence(&[
        tagged(0xa0, &tagged(INTEGER, &[2])),
        tagged(INTEGER, &serial),
        ecdsa_with_sha256(),
        issuer.tbs_certificate.subject.as_raw().to_vec(),
        times,
        info.subject.as_raw().to_vec(),
        info.subject_pki.raw.to_vec(),
        tagged(0xa3, &sequence(&extensions)),
    ]))
}

fn certificate_extensions(
    asked: &Requested,
    is_nobodys: bool,
    issuer: &X509Certificate<'_>,
    usages: &[&str],
) -> Result<Vec<Vec<u8>>, String> {
    const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
    const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
    const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
    const SUBJECT_NAMES: &[u64] = &[2, 5, 29, 17];
    const AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
    let (bits, purposes) = by_name(usages)?;
    let mut all = Vec::new();
    if bits != 0 {
        all.push(extension(KEY_USAGE, true, &bit_string(bits)));
    }
    if !purposes.is_empty() {
        let purposes: Vec<Vec<u8>> = purposes.iter().map(|purpose| oid(purpose)).collect();
        all.push(extension(EXTENDED_KEY_USAGE, false, &sequence(&purposes)));
    }
    all.push(extension(BASIC_CONSTRAINTS, true, &sequence(&[])));
    let key = issuer.extensions().iter().find_map(|one| match one.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
        _ => None,
    });
    if let Some(key) = key {
        all.push(extension(AUTHORITY_KEY, false, &sequence(&[tagged(0x80, key)])));
    }
    let names = asked.names();
    if !names.is_empty() {
        // Critical where nothing else says whose certificate it is.
        all.push(extension(SUBJECT_NAMES, is_nobodys, &sequence(&names)));
    }
    Ok(all)
}

/// Purposes by the names that Kubernetes has for them.
const PURPOSES: &[(&str, &[u64])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

/// Uses of the key by name, with their bits.
const KEY_USAGES: &[(&str, u32)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// Bits of the key's uses, bit 0 the highest of 16, and the purposes.
fn by_name(usages: &[&str]) -> Result<(u16, Vec<&'static [u64]>), String> {
    let (mut bits, mut purposes) = (0, Vec::new());
    for usage in usages {
        if let Some((_, bit)) = KEY_USAGES.iter().find(|(name, _)| name == usage) {
            bits |= 0x8000 >> bit;
        } else if let Some((_, purpose)) = PURPOSES.iter().find(|(name, _)| name == usage) {
            if !purposes.contains(purpose) {
                purposes.push(*purpose);
            }
        } else {
            return Err(format!("unrecognized usage values: [{usage:?}]"));
        }
    }
    Ok((bits, purposes))
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;

/// Tag, length, content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len();
    if length < 0x80 {
        bytes.push(u8::try_from(length).unwrap_or_default());
    } else {
        let digits = length.to_be_bytes();
        let first = digits.iter().position(|digit| *digit != 0).unwrap_or_default();
        bytes.push(0x80 | u8::try_from(digits.len() - first).unwrap_or_default());
        bytes.extend(&digits[first..]);
    }
    bytes.extend(content);
    bytes
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

fn oid(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let first = numbers[0] * 40 + numbers[1];
    for number in std::iter::once(first).chain(numbers[2..].iter().copied()) {
        let digits = (64 - number.leading_zeros()).div_ceil(7).max(1);
        for digit in (0..digits).rev() {
            let more = if digit == 0 { 0 } else { 0x80 };
            let low = u8::try_from(number >> (7 * digit) & 0x7f).unwrap_or_default();
            bytes.push(low | more);
        }
    }
    tagged(OBJECT_IDENTIFIER, &bytes)
}

fn ecdsa_with_sha256() -> Vec<u8> {
    sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 2])])
}

fn extension(id: &[u64], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![oid(id)];
    if critical {
        parts.push(tagged(BOOLEAN, &[0xff]));
    }
    parts.push(tagged(OCTET_STRING, value));
    sequence(&parts)
}

/// The shortest bit string that holds the bits that are set.
fn bit_string(bits: u16) -> Vec<u8> {
    let [high, low] = bits.to_be_bytes();
    let used = if low == 0 { vec![high] } else { vec![high, low] };
    let unused = used.last().map_or(0, |byte| byte.trailing_zeros().min(7));
    let mut content = vec![u8::try_from(unused).unwrap_or_default()];
    content.extend(used);
    tagged(BIT_STRING, &content)
}

fn time(seconds: i64) -> Result<Vec<u8>, String> {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| e.to_string())?;
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    Ok(match time.year() {
        year @ 1950..2050 => tagged(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes()),
        year => tagged(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()),
    })
}

fn pem_of(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, SanType};
    use x509_parser::oid_registry;

    use super::*;

    fn request() -> String {
        request_with(|_| {})
    }

    fn request_with(change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:w1");
        params.subject_alt_names = vec![
            SanType::DnsName("w1".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 7].into()),
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_tells_what_it_asks_for() {
        assert_eq!(
            read(&request()).unwrap(),
            Requested {
                common_name: "system:node:w1".to_owned(),
                organizations: vec!["system:nodes".to_owned()],
                dns_names: vec!["w1".to_owned()],
                addresses: vec![[192, 0, 2, 7].into()],
                ..Requested::default()
            }
        );
        assert_eq!(
            read("-----BEGIN X-----\nAAAA\n-----END X-----\n").unwrap_err().reason,
            "PEM block type must be CERTIFICATE REQUEST"
        );
    }

    #[test]
    fn what_is_granted_is_what_was_asked_for_and_the_authority_stands_for_it() {
        let root = Authority::generate("root").unwrap();
        let usages = ["digital signature", "key encipherment", "server auth"];
        let validity = Validity { not_before: 1_900_000_000, not_after: 2_600_000_000 };
        let pem = root.grant(&request(), &usages, validity).unwrap();
        let der = crate::tls::certificates(&pem).unwrap();
        let (rest, found) = X509Certificate::from_der(&der[0]).unwrap();
        assert!(rest.is_empty());
        assert_eq!(found.subject().to_string(), "O=system:nodes, CN=system:node:w1");
        assert_eq!(found.issuer().to_string(), "CN=root");
        let own = crate::tls::certificates(&root.certificate_pem).unwrap();
        let (_, own) = X509Certificate::from_der(&own[0]).unwrap();
        found.verify_signature(Some(own.public_key())).unwrap();
        assert_eq!(found.validity().not_before.timestamp(), 1_900_000_000);
        assert_eq!(found.validity().not_after, own.validity().not_after);
        let names = found.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
        let usage = found.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        let purpose = found.extended_key_usage().unwrap().unwrap().value;
        assert!(purpose.server_auth && !purpose.client_auth);
        assert!(!found.is_ca());
        let authority =
            found.get_extension_unique(&oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER);
        assert!(authority.unwrap().is_some());
        let wrong = root.grant(&request(), &["flying"], validity).unwrap_err();
        assert_eq!(wrong.reason, "unrecognized usage values: [\"flying\"]");
    }

    #[test]
    fn nobody_is_granted_another_name_than_the_one_that_is_judged() {
        let root = Authority::generate("root").unwrap();
        let validity = Validity { not_before: 1_900_000_000, not_after: 1_900_003_600 };
        let two = request_with(|params| {
            let common_name = DnType::CustomDnType(vec![2, 5, 4, 3]);
            params.distinguished_name.push(common_name, "system:kube-controller-manager");
        });
        let reason = "the subject has more than one common name";
        assert_eq!(read(&two).unwrap_err().reason, reason);
        assert_eq!(root.grant(&two, &["client auth"], validity).unwrap_err().reason, reason);
        let unseen = request_with(|params| {
            let name = (vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "admin@example.com".into());
            params.subject_alt_names.push(SanType::OtherName(name));
        });
        assert_eq!(read(&unseen).unwrap(), read(&request()).unwrap());
        let pem = root.grant(&unseen, &["server auth"], validity).unwrap();
        let der = crate::tls::certificates(&pem).unwrap();
        let (_, found) = X509Certificate::from_der(&der[0]).unwrap();
        let names = found.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2, "{:?}", names.value);
        assert!(!names.critical);
    }
}
