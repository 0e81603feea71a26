//! Quantities as the integers that scheduling computes with.
//!
//! CPU is counted in thousandths, everything else in whole units, both rounded up as upstream
//! does: a pod that asks for half a byte gets one.

use kontiki_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The quantity in whole units, rounded up; unparsable text counts as nothing, since the API
/// server admits none.
pub(crate) fn value(quantity: &Quantity) -> i64 {
    parse(&quantity.0, 0).unwrap_or_default()
}

/// The quantity in thousandths, rounded up.
pub(crate) fn milli_value(quantity: &Quantity) -> i64 {
    parse(&quantity.0, 3).unwrap_or_default()
}

/// Parses a quantity scaled by ten to the power of `scale`.
fn parse(text: &str, scale: i32) -> Option<i64> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let negative = number.starts_with('-');
    let (whole, fraction) = number.trim_start_matches(['+', '-']).split_once('.').unwrap_or((
        number.trim_start_matches(['+', '-']),
        "",
    ));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (binary, decimal) = factor(suffix)?;
    let exponent = decimal + scale - i32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(binary)?;
    let power = 10i128.checked_pow(exponent.unsigned_abs())?;
    let magnitude = if exponent >= 0 {
        scaled.checked_mul(power)?
    } else {
        scaled / power + i128::from(scaled % power != 0 && !negative)
    };
    let signed = if negative { -magnitude } else { magnitude };
    Some(i64::try_from(signed).unwrap_or(if negative { i64::MIN } else { i64::MAX }))
}

/// A suffix as a binary factor and a decimal exponent.
fn factor(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (1, exponent.clamp(-30, 30))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_become_integers_rounded_up() {
        let cases = [
            ("100m", 1, 100),
            ("1", 1, 1000),
            ("1.5", 2, 1500),
            (".5", 1, 500),
            ("1Ki", 1024, 1_024_000),
            ("128Mi", 134_217_728, 134_217_728_000),
            ("2e3", 2000, 2_000_000),
            ("1E", 1_000_000_000_000_000_000, i64::MAX),
            ("1n", 1, 1),
            ("0", 0, 0),
            ("-1", -1, -1000),
            ("many", 0, 0),
        ];
        for (text, units, thousandths) in cases {
            let quantity = Quantity(text.to_owned());
            assert_eq!((value(&quantity), milli_value(&quantity)), (units, thousandths), "{text}");
        }
    }
}
