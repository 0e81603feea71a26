//! How long those who are sent away are asked to stay away: twice as long where many are, a second
//! less where hardly anybody is any more, as upstream. Pure.

use std::collections::VecDeque;

/// The longest time, in seconds.
const AFTER_MAX: u64 = 32;

/// What a level knows of those whom it sent away.
#[derive(Debug)]
pub struct Patience {
    /// The second that is counted, and how many there were in it.
    now: (u64, u64),
    /// The same of seconds before it that still matter.
    past: VecDeque<(u64, u64)>,
    after: u64,
    /// When it was doubled last.
    doubled: Option<u64>,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { now: (0, 0), past: VecDeque::new(), after: 1, doubled: None }
    }
}

impl Patience {
    /// Notes that somebody is sent away in this second; tells for how many seconds. That changes
    /// only from one second to the next.
    pub fn send_away(&mut self, second: u64) -> u64 {
        if second <= self.now.0 {
            self.now.1 += 1;
            return self.after;
        }
        self.past.push_back(std::mem::replace(&mut self.now, (second, 1)));
        self.past.retain(|(then, _)| second - then <= AFTER_MAX);
        let lately = self.past.iter().filter(|(then, _)| second - then <= self.after);
        let many: u64 = lately.map(|(_, many)| many).sum();
        let may_double = self.doubled.is_none_or(|then| second - then >= self.after);
        if may_double && many >= 3 * self.after {
            self.after = (2 * self.after).min(AFTER_MAX);
            self.doubled = Some(second);
        } else if many < self.after && self.after > 1 {
            self.after -= 1;
        }
        self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_sent_away_for_longer_until_it_is_none_any_more() {
        let mut patience = Patience::default();
        let mut told = |second: u64, many: u64| {
            (0..many).map(|_| patience.send_away(second)).last().unwrap_or_default()
        };
        assert_eq!(told(0, 5), 1);
        // Within a second nothing changes; the next one knows of it.
        assert_eq!(told(1, 10), 2);
        // Who was told to stay away for two seconds may do so before it is asked for more.
        assert_eq!(told(2, 10), 2);
        assert_eq!(told(3, 100), 4);
        let most = (4..200).map(|second| told(second, 100)).max();
        assert_eq!(most, Some(AFTER_MAX));
        assert_eq!(told(300, 1), 31);
        assert_eq!(told(400, 1), 30);
    }
}
