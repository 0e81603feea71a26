//! How values become bytes: a format version, a checksum, and postcard.
//!
//! Everything that is stored or sent carries the version of its format, so that a release can
//! read what an older one wrote, and a member stops before it misreads what a newer one wrote.

use serde::{Serialize, de::DeserializeOwned};

use crate::error::Corrupt;

/// Format of everything this release writes.
pub(crate) const FORMAT: u8 = 2;

/// Room for exactly a header and the encoded value: counting is cheaper than growing.
fn with_room<T: Serialize>(header: usize, value: &T) -> Vec<u8> {
    Vec::with_capacity(header + size(value))
}

/// Encodes with a leading format version.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = with_room(1, value);
    bytes.push(FORMAT);
    postcard::to_extend(value, bytes).expect("encoding into memory cannot fail")
}

/// Bytes that a value has when it is encoded.
pub(crate) fn size<T: Serialize>(value: &T) -> usize {
    let size = postcard::ser_flavors::Size::default();
    postcard::serialize_with_flavor(value, size).expect("counting bytes cannot fail")
}

/// Decodes what [`encode`] wrote. `what` names it in errors.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Corrupt> {
    let (format, body) =
        bytes.split_first().ok_or_else(|| Corrupt::new(what, "it is empty".to_owned()))?;
    if *format != FORMAT {
        return Err(Corrupt::new(
            what,
            format!("format {format} is unknown to this release, which knows {FORMAT}"),
        ));
    }
    postcard::from_bytes(body).map_err(|error| Corrupt::new(what, error.to_string()))
}

/// Encodes with format version and checksum, for what lies on disks.
pub(crate) fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = with_room(5, value);
    bytes.extend([FORMAT, 0, 0, 0, 0]);
    let mut bytes = postcard::to_extend(value, bytes).expect("encoding into memory cannot fail");
    let checksum = crc32fast::hash(&bytes[5..]).to_be_bytes();
    bytes[1..5].copy_from_slice(&checksum);
    bytes
}

/// Decodes what [`seal`] wrote, after its checksum.
pub(crate) fn unseal<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Corrupt> {
    let Some((&[format, a, b, c, d], body)) = bytes.split_first_chunk::<5>() else {
        return Err(Corrupt::new(what, format!("only {} bytes long", bytes.len())));
    };
    if format != FORMAT {
        return Err(Corrupt::new(
            what,
            format!("format {format} is unknown to this release, which knows {FORMAT}"),
        ));
    }
    let (expected, actual) = (u32::from_be_bytes([a, b, c, d]), crc32fast::hash(body));
    if expected != actual {
        return Err(Corrupt::new(
            what,
            format!("checksum {actual:08x} differs from the stored {expected:08x}"),
        ));
    }
    postcard::from_bytes(body).map_err(|error| Corrupt::new(what, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_and_a_newer_format_are_found() {
        let sealed = seal(&("pods", 7u64));
        assert_eq!(unseal::<(String, u64)>("x", &sealed).unwrap(), ("pods".to_owned(), 7));
        let mut flipped = sealed.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(
            unseal::<(String, u64)>("x", &flipped).unwrap_err().to_string().contains("checksum")
        );
        let mut newer = sealed;
        newer[0] = 9;
        assert!(unseal::<(String, u64)>("x", &newer).unwrap_err().to_string().contains("format 9"));
        assert!(unseal::<u64>("x", &[1, 2]).is_err());
    }
}
