//! Where members are dialled: what the membership says, and what was heard since.
//!
//! A member that moved says so itself, before the cluster can agree on it: that counts, until the
//! membership says something new.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::types::MemberId;

#[derive(Default)]
struct Known {
    agreed: Option<String>,
    heard: Option<String>,
}

/// Addresses of the other members.
#[derive(Default)]
pub(super) struct AddressBook(Mutex<BTreeMap<MemberId, Known>>);

impl AddressBook {
    /// What the membership says.
    pub(super) fn learn(&self, member: MemberId, address: &str) {
        let mut book = self.0.lock();
        let known = book.entry(member).or_default();
        if known.agreed.as_deref() != Some(address) {
            *known = Known { agreed: Some(address.to_owned()), heard: None };
        }
    }

    /// Where the member was met, or says that it is. `true` when it is news.
    pub(super) fn hear(&self, member: MemberId, address: &str) -> bool {
        let mut book = self.0.lock();
        let known = book.entry(member).or_default();
        let heard = Some(address.to_owned()).filter(|heard| known.agreed.as_ref() != Some(heard));
        let news = known.heard != heard;
        known.heard = heard;
        news
    }

    /// Where to dial a member.
    pub(super) fn of(&self, member: MemberId) -> Option<String> {
        let book = self.0.lock();
        let known = book.get(&member)?;
        known.heard.clone().or_else(|| known.agreed.clone()).filter(|address| !address.is_empty())
    }

    /// Every address that may be worth a try.
    pub(super) fn all(&self) -> Vec<String> {
        let book = self.0.lock();
        let addresses = book.values().flat_map(|known| [known.heard.clone(), known.agreed.clone()]);
        addresses.flatten().filter(|address| !address.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_counts_until_the_membership_changes() {
        let (book, member) = (AddressBook::default(), MemberId(1));
        assert_eq!(book.of(member), None);
        book.learn(member, "a:1");
        assert!(book.hear(member, "b:1"));
        assert!(!book.hear(member, "b:1"));
        // The membership repeats itself with every heartbeat: that is no news.
        book.learn(member, "a:1");
        assert_eq!(book.of(member).as_deref(), Some("b:1"));
        assert_eq!(book.all(), ["b:1", "a:1"]);
        book.learn(member, "c:1");
        assert_eq!(book.of(member).as_deref(), Some("c:1"));
        book.hear(member, "b:1");
        book.hear(member, "c:1");
        assert_eq!(book.all(), ["c:1"]);
    }
}
