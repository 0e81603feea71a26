//! Kubernetes quantities as numbers.

/// The value in thousandths, rounded up.
pub fn milli(text: &str) -> Option<i64> {
    scaled(text, 1000)
}

/// The value, rounded up.
pub fn value(text: &str) -> Option<i64> {
    scaled(text, 1)
}

/// `text` times `scale`, rounded up as upstream does.
fn scaled(text: &str, scale: i128) -> Option<i64> {
    let text = text.trim();
    let digits_end =
        text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (numerator, denominator) = factor(suffix)?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let top = digits.checked_mul(numerator)?.checked_mul(scale)?;
    let bottom = places.checked_mul(denominator)?;
    let quotient = (top + bottom - 1) / bottom;
    i64::try_from(if negative { -(top / bottom) } else { quotient }).ok()
}

/// A suffix as a fraction.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_become_numbers() {
        for (text, thousandths, whole) in [
            ("100m", Some(100), Some(1)),
            ("0.5", Some(500), Some(1)),
            ("2", Some(2000), Some(2)),
            ("128Mi", Some(134_217_728_000), Some(134_217_728)),
            ("1.5Gi", Some(1_610_612_736_000), Some(1_610_612_736)),
            ("1e3", Some(1_000_000), Some(1000)),
            ("12E", None, None),
            ("1u", Some(1), Some(1)),
            ("", None, None),
            ("1x", None, None),
        ] {
            assert_eq!((milli(text), value(text)), (thousandths, whole), "{text}");
        }
    }
}
