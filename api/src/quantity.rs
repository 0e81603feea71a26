//! Quantities such as `500m`, `1.5Gi` or `2e3`: read exactly, written canonically.
//!
//! The value is an integer count of nanos, so no arithmetic here ever rounds; only parsing does,
//! upwards, for what is finer than a nano.

use std::{cmp::Ordering, fmt, ops};

/// Nanos in one unit.
const NANO: i128 = 1_000_000_000;
/// The largest magnitude of a quantity, as upstream caps it: 2^63 - 1 units.
const MAX: i128 = (i64::MAX as i128) * NANO;

/// The family of suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `m`, `k`, `M`, `G`, …
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi`, …
    BinarySi,
    /// `e3`, `e6`, …
    DecimalExponent,
}

/// An exact amount and how it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not look like one at all.
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number before the suffix is malformed.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix is not a known one.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// A whole number of units.
    pub fn from_units(units: i64) -> Quantity {
        Quantity { nanos: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// Thousandths, as CPU is counted.
    pub fn from_millis(millis: i64) -> Quantity {
        Quantity { nanos: i128::from(millis) * 1_000_000, format: Format::DecimalSi }
    }

    /// A whole number of bytes, written with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Quantity {
        Quantity { nanos: i128::from(bytes) * NANO, format: Format::BinarySi }
    }

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Quantity, Error> {
        let (negative, digits, suffix) = split(text)?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(Error::Number);
        }
        let (format, scale) = suffix_scale(suffix)?;
        let mantissa = format!("{whole}{fraction}");
        let magnitude = scaled(&mantissa, fraction.len(), scale);
        let nanos = if negative { -magnitude } else { magnitude };
        Ok(Quantity { nanos, format })
    }

    /// Units, rounded up.
    pub fn units(&self) -> i64 {
        i64::try_from(div_ceil(self.nanos, NANO)).unwrap_or(i64::MAX)
    }

    /// Thousandths, rounded up.
    pub fn millis(&self) -> i64 {
        i64::try_from(div_ceil(self.nanos, 1_000_000)).unwrap_or(i64::MAX)
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// Whether it is a whole number of thousandths.
    pub fn is_whole_millis(&self) -> bool {
        self.nanos % 1_000_000 == 0
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// The text that upstream stores for a quantity; `None` if it is no quantity.
    pub fn canonical(text: &str) -> Result<String, Error> {
        Quantity::parse(text).map(|quantity| quantity.to_string())
    }
}

fn split(text: &str) -> Result<(bool, &str, &str), Error> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(Error::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    if end == 0 {
        return Err(Error::Format);
    }
    let (digits, suffix) = rest.split_at(end);
    let letters = suffix.trim_end_matches(|c: char| c.is_ascii_digit());
    let letters = letters.strip_suffix(['-', '+']).unwrap_or(letters);
    if !letters.bytes().all(|c| b"eEinumkKMGTP".contains(&c)) {
        return Err(Error::Format);
    }
    Ok((negative, digits, suffix))
}

/// How many nanos one unit of a suffix is, as (base, exponent) over the nano.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn suffix_scale(suffix: &str) -> Result<(Format, Scale), Error> {
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    const BINARY: [(&str, u32); 6] =
        [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::DecimalSi, Scale::Ten(*exponent)));
    }
    if let Some((_, exponent)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::BinarySi, Scale::Two(*exponent)));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(Error::Suffix)?;
    let exponent: i32 = exponent.parse().map_err(|_| Error::Suffix)?;
    Ok((Format::DecimalExponent, Scale::Ten(exponent)))
}

/// `mantissa * 10^-decimals * scale` in nanos, rounded up, capped at the largest quantity.
fn scaled(mantissa: &str, decimals: usize, scale: Scale) -> i128 {
    let digits = mantissa.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let decimals = i64::try_from(decimals).unwrap_or(i64::MAX);
    let (exponent, factor) = match scale {
        Scale::Ten(exponent) => (i64::from(exponent) + 9 - decimals, 1),
        Scale::Two(exponent) => (9 - decimals, 1_i128 << exponent),
    };
    // More than 30 digits before any division are capped anyway; keep what matters.
    let kept = digits.len().min(60);
    let size = i64::try_from(digits.len()).unwrap_or(i64::MAX) + exponent;
    if size > 30 {
        return MAX;
    }
    let exponent = exponent + i64::try_from(digits.len() - kept).unwrap_or(0);
    let nanos = decimal(&digits[..kept], exponent, factor);
    nanos.map_or(MAX, |nanos| nanos.min(MAX))
}

/// `digits * 10^exponent * factor`, rounded up; `None` if it does not fit.
fn decimal(digits: &str, exponent: i64, factor: i128) -> Option<i128> {
    if exponent >= 0 {
        let value: i128 = digits.parse().ok()?;
        let ten = 10_i128.checked_pow(u32::try_from(exponent).ok()?)?;
        return value.checked_mul(ten)?.checked_mul(factor);
    }
    let cut = usize::try_from(-exponent).ok()?;
    // Long division digit by digit, so that no digit is lost before the factor is applied.
    let (whole, rest) = if cut >= digits.len() {
        ("0", format!("{}{digits}", "0".repeat(cut - digits.len())))
    } else {
        let (whole, rest) = digits.split_at(digits.len() - cut);
        (whole, rest.to_owned())
    };
    let whole: i128 = whole.parse::<i128>().ok()?.checked_mul(factor)?;
    let kept = rest.len().min(18);
    let tail_lost = rest[kept..].bytes().any(|digit| digit != b'0');
    let numerator = rest[..kept].parse::<i128>().ok()?.checked_mul(factor)?;
    let denominator = 10_i128.pow(u32::try_from(kept).ok()?);
    let mut part = div_ceil(numerator, denominator);
    if tail_lost && numerator % denominator == 0 {
        part += 1;
    }
    whole.checked_add(part)
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.is_whole() {
            let (mut value, mut power) = (self.nanos / NANO, 0);
            while value % 1024 == 0 && power < 6 {
                value /= 1024;
                power += 1;
            }
            return write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut value, mut exponent) = (self.nanos, -9);
        while value % 1000 == 0 && exponent < 18 {
            value /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return match exponent {
                0 => write!(f, "{value}"),
                _ => write!(f, "{value}e{exponent}"),
            };
        }
        let suffix = match exponent {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            0 => "",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            _ => "E",
        };
        write!(f, "{value}{suffix}")
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }
}

impl ops::Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: (self.nanos - other.nanos).clamp(-MAX, MAX), format }
    }
}

impl ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        let cases = [
            ("0", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("1000", "1k"),
            ("1.5", "1500m"),
            ("0.1", "100m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("1024", "1024"),
            ("0.5Ki", "512"),
            ("1Ei", "1Ei"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1E", "1E"),
            ("+2", "2"),
            ("-1.5", "-1500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
            ("1.0001Ki", "1024102400u"),
            ("99999999999999999999", "9223372036854775807"),
        ];
        for (text, expected) in cases {
            assert_eq!(Quantity::canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_says_why() {
        let cases = [
            ("", Error::Format),
            ("abc", Error::Format),
            ("1 Gi", Error::Format),
            ("1Gib", Error::Format),
            ("1.2.3", Error::Number),
            (".", Error::Number),
            ("1iK", Error::Suffix),
            ("1mm", Error::Suffix),
        ];
        for (text, expected) in cases {
            assert_eq!(Quantity::canonical(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn amounts_compare_and_add_across_formats() {
        let parse = |text| Quantity::parse(text).expect("a quantity");
        assert_eq!(parse("1Gi"), parse("1073741824"));
        assert!(parse("999m") < parse("1"));
        assert_eq!((parse("250m") + parse("0.75")).to_string(), "1");
        assert_eq!((parse("1Gi") + parse("512Mi")).to_string(), "1536Mi");
        assert_eq!((parse("1") - parse("100m")).millis(), 900);
        assert_eq!(parse("1500m").units(), 2);
        assert_eq!(Quantity::from_bytes(2 << 20).to_string(), "2Mi");
    }
}
