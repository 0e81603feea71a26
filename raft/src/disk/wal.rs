//! Finding the damaged place in a write-ahead log of RocksDB, which itself only says that there
//! is one.
//!
//! The format: blocks of 32 KiB, in them records of a checksum (CRC-32C, masked), a length, a
//! kind and the payload; a record that does not fit is cut into pieces.

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// Kinds from here on carry the log's number behind the header.
const RECYCLED: std::ops::RangeInclusive<u8> = 5..=8;
const LOG_NUMBER: usize = 4;

/// Where the first piece lies that is not what was written, if there is one before the end.
pub(super) fn first_damage(log: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < log.len() {
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            at += left;
            continue;
        }
        let piece = &log[at..log.len().min(at + left)];
        let Some((header, rest)) = piece.split_at_checked(HEADER) else { return Some(at) };
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let kind = header[6];
        if kind == 0 && length == 0 && stored == 0 {
            // Room that was prepared and not used.
            return log[at..].iter().any(|byte| *byte != 0).then_some(at);
        }
        let length = length + if RECYCLED.contains(&kind) { LOG_NUMBER } else { 0 };
        let Some(payload) = rest.get(..length) else { return Some(at) };
        let actual = masked(crc32c(payload, crc32c(&[kind], 0)));
        if actual != stored {
            return Some(at);
        }
        at += HEADER + length;
    }
    None
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C, bit by bit: it runs over a file or two, once, when something is wrong.
fn crc32c(bytes: &[u8], before: u32) -> u32 {
    let mut crc = !before;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        let crc = masked(crc32c(payload, crc32c(&[kind], 0)));
        let length = u16::try_from(payload.len()).unwrap();
        [&crc.to_le_bytes()[..], &length.to_le_bytes(), &[kind], payload].concat()
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32c(b"123456789", 0), 0xe306_9283);
    }

    #[test]
    fn the_first_damaged_record_is_found() {
        let first = record(1, &[7; 100]);
        let log = [first.clone(), record(1, &[8; 200])].concat();
        assert_eq!(first_damage(&log), None);
        assert_eq!(first_damage(&[]), None);
        let mut flipped = log.clone();
        flipped[first.len() + 50] ^= 4;
        assert_eq!(first_damage(&flipped), Some(first.len()));
        assert_eq!(first_damage(&log[..log.len() - 1]), Some(first.len()), "it is cut short");
        let padded = [log.clone(), vec![0; 500]].concat();
        assert_eq!(first_damage(&padded), None);
        assert_eq!(first_damage(&[padded, vec![1]].concat()), Some(log.len()));
    }

    #[test]
    fn records_lie_in_blocks() {
        let first = record(1, &vec![7; BLOCK - HEADER - 3]);
        let log = [first, vec![0; 3], record(1, &[8; 10])].concat();
        assert_eq!(first_damage(&log), None);
    }
}
