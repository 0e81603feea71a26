//! Medians of turns as a table for people.

use std::fmt::Write;

use super::rows::Turn;

/// The middle one of some figures; the mean of the middle two if their number is even.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let (count, middle) = (figures.len(), figures.len() / 2);
    match count {
        0 => f64::NAN,
        _ if count % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

/// A row's medians on one side.
struct Medians {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
    fsyncs: f64,
    errors: usize,
}

fn medians(turns: &[Turn], row: &str, side: &str) -> Option<Medians> {
    let turns: Vec<&Turn> = turns.iter().filter(|t| t.row == row && t.side == side).collect();
    if turns.is_empty() {
        return None;
    }
    let of = |figure: fn(&Turn) -> f64| median(turns.iter().map(|turn| figure(turn)).collect());
    Some(Medians {
        rate: of(|turn| turn.rate),
        p50_ms: of(|turn| turn.p50_ms),
        p99_ms: of(|turn| turn.p99_ms),
        cpu_us: of(|turn| turn.cpu_us),
        fsyncs: of(|turn| turn.fsyncs.unwrap_or(f64::NAN)),
        errors: turns.iter().map(|turn| turn.errors).sum(),
    })
}

/// A markdown table: a line per row, ours beside the peer's. `x` is how many times better we are.
pub(super) fn markdown(turns: &[Turn], sides: &[String]) -> String {
    let mut rows: Vec<&str> = Vec::new();
    for turn in turns {
        if !rows.contains(&turn.row) {
            rows.push(turn.row);
        }
    }
    match sides {
        [ours, peer] => beside(turns, &rows, ours, peer),
        _ => alone(turns, &rows, sides.first().map_or("", String::as_str)),
    }
}

fn beside(turns: &[Turn], rows: &[&str], ours: &str, peer: &str) -> String {
    let mut text = format!(
        "| row | {ours} /s | {peer} /s | x | p50 ms | {peer} | p99 ms | {peer} | x | CPU us/op | \
         {peer} | x | fsyncs/op | {peer} | errors | {peer} |\n|---{}|\n",
        "|---:".repeat(15)
    );
    for row in rows {
        let (Some(a), Some(b)) = (medians(turns, row, ours), medians(turns, row, peer)) else {
            continue;
        };
        let cells = [
            (*row).to_owned(),
            figure(a.rate),
            figure(b.rate),
            ratio(a.rate, b.rate),
            figure(a.p50_ms),
            figure(b.p50_ms),
            figure(a.p99_ms),
            figure(b.p99_ms),
            ratio(b.p99_ms, a.p99_ms),
            figure(a.cpu_us),
            figure(b.cpu_us),
            ratio(b.cpu_us, a.cpu_us),
            figure(a.fsyncs),
            figure(b.fsyncs),
            a.errors.to_string(),
            b.errors.to_string(),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn alone(turns: &[Turn], rows: &[&str], side: &str) -> String {
    let mut text = format!(
        "| row | {side} /s | p50 ms | p99 ms | CPU us/op | fsyncs/op | errors |\n|---{}|\n",
        "|---:".repeat(6)
    );
    for row in rows {
        let Some(a) = medians(turns, row, side) else { continue };
        let cells = [a.rate, a.p50_ms, a.p99_ms, a.cpu_us, a.fsyncs].map(figure);
        let _ = writeln!(text, "| {row} | {} | {} |", cells.join(" | "), a.errors);
    }
    text
}

/// Three digits that matter.
pub(crate) fn figure(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "-".to_owned(),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `better / worse`, where both mean something.
pub(super) fn ratio(numerator: f64, denominator: f64) -> String {
    let ratio = numerator / denominator;
    if ratio.is_finite() && ratio > 0.0 { format!("**{ratio:.2}**") } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn turn(side: &str, rate: f64, p99_ms: f64, cpu_us: f64) -> Turn {
        Turn {
            row: "put",
            side: side.to_owned(),
            rate,
            p50_ms: p99_ms / 4.0,
            p99_ms,
            errors: 1,
            first_error: None,
            cpu_us,
            generator_us: 0.0,
            fsyncs: (side == "a").then_some(0.125),
            won: None,
        }
    }

    #[test]
    fn medians_do_not_follow_one_bad_turn() {
        assert!((median(vec![3.0, 900.0, 1.0]) - 3.0).abs() < 1e-9);
        assert!((median(vec![1.0, 2.0]) - 1.5).abs() < 1e-9);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_better_side_has_the_greater_ratio() {
        let turns = [turn("a", 2000.0, 5.0, 10.0), turn("b", 1000.0, 10.0, 40.0)];
        expect![[r"
            | row | a /s | b /s | x | p50 ms | b | p99 ms | b | x | CPU us/op | b | x | fsyncs/op | b | errors | b |
            |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
            | put | 2000 | 1000 | **2.00** | 1.25 | 2.50 | 5.00 | 10.0 | **2.00** | 10.0 | 40.0 | **4.00** | 0.12 | - | 1 | 1 |
        "]]
        .assert_eq(&markdown(&turns, &["a".to_owned(), "b".to_owned()]));
        expect![[r"
            | row | a /s | p50 ms | p99 ms | CPU us/op | fsyncs/op | errors |
            |---|---:|---:|---:|---:|---:|---:|
            | put | 2000 | 1.25 | 5.00 | 10.0 | 0.12 | 1 |
        "]]
        .assert_eq(&markdown(&turns[..1], &["a".to_owned()]));
    }
}
