//! Tokens whose signature has been checked: checking costs far more than everything else that a
//! small request does, and its outcome never changes while the keys are the same.
//!
//! Kept are digests, not tokens, and what the token says. Whether that holds now (its times, its
//! audience, what it is bound to) is asked anew for every request.

use std::{collections::HashMap, mem, sync::Arc};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// Most tokens of a generation; two generations are kept.
const TOKENS_MAX: usize = 1024;

type Generation<T> = HashMap<[u8; 32], Arc<T>>;

/// What verified tokens say, of those that were used lately.
pub struct Verified<T>(Mutex<Generations<T>>);

struct Generations<T> {
    young: Generation<T>,
    old: Generation<T>,
}

impl<T> Default for Verified<T> {
    fn default() -> Verified<T> {
        Verified(Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }))
    }
}

impl<T> Verified<T> {
    /// What a token says: as it was found before, under the same keys (`epoch` counts their
    /// changes), or as `verify` finds it now. What does not verify is not kept: strangers must not
    /// push out what others need.
    pub fn get(
        &self,
        epoch: u64,
        token: &str,
        verify: impl FnOnce() -> Option<T>,
    ) -> Option<Arc<T>> {
        let digest = Sha256::new().chain_update(epoch.to_le_bytes()).chain_update(token);
        let digest: [u8; 32] = digest.finalize().into();
        if let Some(known) = self.0.lock().find(&digest) {
            return Some(known);
        }
        let claims = Arc::new(verify()?);
        self.0.lock().keep(digest, claims.clone());
        Some(claims)
    }
}

impl<T> Generations<T> {
    fn find(&mut self, digest: &[u8; 32]) -> Option<Arc<T>> {
        if let Some(known) = self.young.get(digest) {
            return Some(known.clone());
        }
        let known = self.old.remove(digest)?;
        self.keep(*digest, known.clone());
        Some(known)
    }

    fn keep(&mut self, digest: [u8; 32], claims: Arc<T>) {
        if self.young.len() >= TOKENS_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest, claims);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_verified_once_while_it_is_in_use() {
        let verified = Verified::default();
        let mut times = 0;
        let mut get = |token: &str| {
            let verify = || {
                times += 1;
                (!token.is_empty()).then(|| token.to_owned())
            };
            verified.get(1, token, verify).map(|claims| claims.to_string())
        };
        for round in 0..3 * TOKENS_MAX {
            assert_eq!(get("in use").as_deref(), Some("in use"));
            assert_eq!(get(&format!("once {round}")), Some(format!("once {round}")));
        }
        assert_eq!((get(""), get("")), (None, None));
        assert_eq!(times, 1 + 3 * TOKENS_MAX + 2);
        let all = verified.0.lock();
        let kept = all.young.len() + all.old.len();
        drop(all);
        assert!(kept <= 2 * TOKENS_MAX, "{kept}");
        // Other keys may not have signed it.
        assert!(verified.get(2, "in use", || None).is_none());
    }
}
