//! Comparing what the members hold, in the background.
//!
//! Equal logs make equal states; a member whose state differs has met a defect, of its disk, its
//! memory or our code, that nothing else would show. The leader asks all for a fingerprint at one
//! revision. Where a majority agrees, who differs serves no more; where none does, nobody can tell
//! who is right, and all say so.
//!
//! To take a fingerprint is to read everything: each block's checksum is verified on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use kontiki_base::CancellationToken;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Inner, Store,
    health::{Finding, Question},
};
use crate::{
    environment::blocking,
    error::Error,
    metrics,
    mvcc::{self, record::Header},
    types::{MemberId, Revision},
};

/// A member that has not got so far by then is left out.
const REACH_MAX: Duration = Duration::from_secs(10);
/// A large state takes its time to be read; nobody waits for it.
const FINGERPRINT_MAX: Duration = Duration::from_secs(600);
/// Reading everything yields to whatever else the machine does.
const NICE: i32 = 15;
/// Between two comparisons of a large state lies so many times what one took, within bounds: a
/// member that does not answer makes one long.
const REST: u32 = 20;
const REST_MAX: Duration = Duration::from_secs(3_600);

/// What a member holds between its floor and the revision that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    member: MemberId,
    floor: Revision,
    hash: u64,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Alike,
    /// These differ from a majority.
    Odd(BTreeSet<MemberId>),
    /// There is no majority.
    Undecided,
}

/// Compares fingerprints that were taken at one revision. Pure.
fn judge(fingerprints: &[Fingerprint], floor: Revision) -> Verdict {
    // Another floor means that a compaction came between: the next time will do.
    let comparable: Vec<_> = fingerprints.iter().filter(|print| print.floor == floor).collect();
    let mut camps: BTreeMap<u64, BTreeSet<MemberId>> = BTreeMap::new();
    for print in &comparable {
        camps.entry(print.hash).or_default().insert(print.member);
    }
    if camps.len() < 2 {
        return Verdict::Alike;
    }
    let right = camps.values().find(|camp| camp.len() * 2 > comparable.len());
    right.map_or(Verdict::Undecided, |right| {
        let odd = comparable.iter().map(|print| print.member);
        Verdict::Odd(odd.filter(|member| !right.contains(member)).collect())
    })
}

/// Compares again and again while this member leads.
pub(super) async fn run(inner: Arc<Inner>, every: Duration, shutdown: CancellationToken) {
    let mut took = Duration::ZERO;
    loop {
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            () = sleep(every.max(REST_MAX.min(took * REST))) => {}
        }
        if inner.leadership.borrow().fence.is_none() {
            continue;
        }
        let began = Instant::now();
        tokio::select! { biased;
            () = shutdown.cancelled() => return,
            outcome = inner.compare() => if let Err(error) = outcome {
                tracing::info!("the members were not compared: {error}");
            },
        }
        took = began.elapsed();
    }
}

impl Store {
    /// Compares what the members hold, as the leader does by itself every few minutes, and
    /// returns those that differ from a majority; all that differ, where there is none.
    pub async fn compare_members(&self) -> Result<BTreeSet<MemberId>, Error> {
        self.0.compare().await
    }
}

impl Inner {
    async fn compare(&self) -> Result<BTreeSet<MemberId>, Error> {
        metrics::health().hash_checks.inc();
        let (first, _) = self.compare_once().await?;
        if first == Verdict::Alike {
            return Ok(BTreeSet::new());
        }
        // Nobody is sent away for something that does not show twice.
        let (second, prints) = self.compare_once().await?;
        if second != first {
            tracing::warn!(?first, ?second, "the members' states differed, and do no more");
            return Ok(BTreeSet::new());
        }
        metrics::health().hash_mismatches.inc();
        self.tell_all(&second, &prints).await;
        match second {
            Verdict::Odd(members) => Ok(members),
            _ => Ok(prints.iter().map(|(print, _)| print.member).collect()),
        }
    }

    /// One round, and the fingerprints with the revision that they are of.
    async fn compare_once(&self) -> Result<(Verdict, Vec<(Fingerprint, Revision)>), Error> {
        let at = self.shared.applied().revision;
        let own = self.identified.member;
        let others = self.members().into_iter().map(|member| member.id).filter(|id| *id != own);
        let asked = others.map(|member| async move {
            let question = Question::Hash { at };
            let answer = timeout(FINGERPRINT_MAX, self.peers.examine(member, &question)).await;
            match answer {
                Ok(Ok(Finding::Hash { floor, hash })) => Some(Fingerprint { member, floor, hash }),
                other => {
                    tracing::debug!(%member, ?other, "a member is not compared");
                    None
                }
            }
        });
        let (theirs, (floor, hash)) =
            tokio::try_join!(async { Ok(join_all(asked).await) }, self.fingerprint(at))?;
        let prints = theirs.into_iter().flatten().chain([Fingerprint { member: own, floor, hash }]);
        let prints: Vec<Fingerprint> = prints.collect();
        let verdict = judge(&prints, floor);
        Ok((verdict, prints.into_iter().map(|print| (print, at)).collect()))
    }

    /// Floor and fingerprint of this member's state at a revision, once it is applied.
    pub(super) async fn fingerprint(&self, at: Revision) -> Result<(Revision, u64), Error> {
        let mut applied = self.shared.watch_applied();
        let reached = timeout(REACH_MAX, applied.wait_for(|applied| applied.revision >= at)).await;
        reached
            .map_err(|_| Error::Timeout {
                waited: REACH_MAX,
                last: format!("this member has not applied revision {at}"),
            })?
            .map_err(|_| Error::ShutDown)?;
        let shared = self.shared.clone();
        let take = move || {
            let db = shared.db();
            let view = db.read_once();
            let floor = Header::load(&view)?.floor;
            Ok((floor, mvcc::hash::hash(&view, Some(at))?.1))
        };
        // A thread of its own: it must not keep its low priority when it is used again.
        let quietly = move || {
            let reader = std::thread::Builder::new().name("raft-compare".to_owned());
            let reader = reader.spawn(move || {
                let thread = rustix::thread::gettid();
                let _ = rustix::process::setpriority_process(Some(thread), NICE);
                take()
            });
            reader?.join().map_err(|_| Error::from(io::Error::other("the comparison panicked")))?
        };
        blocking(quietly).await.map_err(|_| Error::ShutDown)?
    }

    /// Tells everyone what was found.
    async fn tell_all(&self, verdict: &Verdict, prints: &[(Fingerprint, Revision)]) {
        let said: Vec<String> = prints
            .iter()
            .map(|(print, at)| format!("{} has {:016x} at revision {at}", print.member, print.hash))
            .collect();
        let finding = said.join(", ");
        let odd = |member: &MemberId| matches!(verdict, Verdict::Odd(odd) if odd.contains(member));
        let own = self.identified.member;
        let told = prints.iter().filter(|(print, _)| print.member != own).map(|(print, _)| {
            let odd = odd(&print.member);
            let question = Question::Differs { finding: finding.clone(), odd };
            async move { (print.member, self.peers.examine(print.member, &question).await) }
        });
        for (member, told) in join_all(told).await {
            if let Err(error) = told {
                tracing::warn!(%member, "a member was not told that states differ: {error}");
            }
        }
        self.heed(&finding, odd(&own)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_one_out_is_found_where_there_is_a_majority() {
        let check = |prints: &[(u64, u64)], expected: Verdict| {
            let prints: Vec<Fingerprint> = prints
                .iter()
                .zip(1..)
                .map(|((floor, hash), id)| Fingerprint {
                    member: MemberId(id),
                    floor: Revision(*floor),
                    hash: *hash,
                })
                .collect();
            assert_eq!(judge(&prints, Revision(1)), expected, "{prints:?}");
        };
        let odd = |ids: &[u64]| Verdict::Odd(ids.iter().map(|id| MemberId(*id)).collect());
        check(&[(1, 7)], Verdict::Alike);
        check(&[(1, 7), (1, 7), (1, 7)], Verdict::Alike);
        check(&[(1, 7), (1, 8), (1, 7)], odd(&[2]));
        check(&[(1, 8), (1, 7), (1, 7)], odd(&[1]));
        check(&[(1, 7), (1, 8), (1, 9)], Verdict::Undecided);
        check(&[(1, 7), (1, 8)], Verdict::Undecided);
        check(&[(1, 7), (2, 8), (1, 7)], Verdict::Alike);
        check(&[(1, 7), (1, 7), (1, 7), (1, 8), (1, 9)], odd(&[4, 5]));
    }
}
