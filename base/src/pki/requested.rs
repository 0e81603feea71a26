//! Certificates as requests ask for them: subject, names and key are the request's own.
//!
//! Who may ask for what is decided by the caller ([`read`] tells what is asked). The certificate is
//! put together here byte by byte, since the library keeps one value per kind of name, and people
//! are in more than one group.

use std::net::IpAddr;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    pem::parse_x509_pem,
    prelude::{FromDer as _, X509Certificate},
};

use super::{Authority, Error, failed};

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
    let der = der_of(pem)?;
    let request = parse(&der)?;
    let subject = &request.certification_request_info.subject;
    let mut found = Requested {
        common_name: subject
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .last()
            .unwrap_or_default()
            .to_owned(),
        organizations: subject
            .iter_organization()
            .filter_map(|name| name.as_str().ok().map(str::to_owned))
            .collect(),
        ..Requested::default()
    };
    for extension in extensions(&request) {
        if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
            for name in &names.general_names {
                found.add(name);
            }
        }
    }
    Ok(found)
}

impl Requested {
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
}

fn der_of(pem: &str) -> Result<Vec<u8>, Error> {
    const ACTION: &str = "read the signing request";
    let wrong = || Error {
        action: ACTION,
        reason: "PEM block type must be CERTIFICATE REQUEST".to_owned(),
    };
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| wrong())?;
    if block.label == "CERTIFICATE REQUEST" { Ok(block.contents) } else { Err(wrong()) }
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, Error> {
    let parsed = X509CertificationRequest::from_der(der);
    parsed.map(|(_, request)| request).map_err(failed("read the signing request"))
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
    let extensions = certificate_extensions(request, issuer, usages)?;
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
    request: &X509CertificationRequest<'_>,
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
    for asked in extensions(request) {
        if matches!(asked.parsed_extension(), ParsedExtension::SubjectAlternativeName(_)) {
            all.push(extension(SUBJECT_NAMES, asked.critical, asked.value));
        }
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
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let mut number = [0; 3];
        number[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, number[0], number[1], number[2]]);
        for digit in 0..4 {
            let index = usize::try_from(number >> (18 - 6 * digit) & 0x3f).unwrap_or_default();
            text.push(if digit > chunk.len() { '=' } else { char::from(LETTERS[index]) });
        }
    }
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, SanType};
    use x509_parser::oid_registry;

    use super::*;

    fn request() -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:w1");
        params.subject_alt_names = vec![
            SanType::DnsName("w1".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 7].into()),
        ];
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
}
