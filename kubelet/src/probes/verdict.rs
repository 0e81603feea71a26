//! What repeated answers mean. Pure.

/// How many equal answers in a row make a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// `successThreshold`.
    pub success: u32,
    /// `failureThreshold`.
    pub failure: u32,
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It answered as it should.
    Success,
    /// It did not.
    Failure,
}

/// The state of one probe.
#[derive(Clone, Debug)]
pub struct Verdict {
    thresholds: Thresholds,
    last: Option<Answer>,
    run: u32,
    told: Option<bool>,
}

impl Verdict {
    /// Nothing asked yet; `told` is what an earlier life of this probe found.
    pub fn new(thresholds: Thresholds, told: Option<bool>) -> Verdict {
        Verdict { thresholds, last: None, run: 0, told }
    }

    /// Whether no verdict was told yet.
    pub fn is_open(&self) -> bool {
        self.told.is_none()
    }

    /// Records an answer; tells a verdict when it changes.
    pub fn record(&mut self, answer: Answer) -> Option<bool> {
        self.run = if self.last == Some(answer) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(answer);
        let (needed, passed) = match answer {
            Answer::Success => (self.thresholds.success, true),
            Answer::Failure => (self.thresholds.failure, false),
        };
        if self.run < needed || self.told == Some(passed) {
            return None;
        }
        self.told = Some(passed);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(thresholds: (u32, u32), answers: &str, expected: &str) {
        let (success, failure) = thresholds;
        let mut verdict = Verdict::new(Thresholds { success, failure }, None);
        let told: String = answers
            .chars()
            .map(|c| if c == '+' { Answer::Success } else { Answer::Failure })
            .map(|answer| match verdict.record(answer) {
                Some(true) => 'P',
                Some(false) => 'F',
                None => '.',
            })
            .collect();
        assert_eq!(told, expected, "{answers}");
    }

    #[test]
    fn verdicts_need_their_thresholds() {
        check((1, 3), "+--+---+", "P.....FP");
        check((2, 1), "-++-+-++", "F.PF...P");
        check((1, 1), "----", "F...");
    }
}
