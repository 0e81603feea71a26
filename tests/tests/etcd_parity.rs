//! The proof that the store answers as etcd does: the same seeded history of requests runs against
//! three members of ours and a real etcd, and every answer is compared.
//!
//! What differs on purpose is not asked: a transaction that deletes from a key on (`range_end`
//! of one zero byte) and puts a key of that range is refused here, as it is with any other range,
//! while etcd writes the key twice; of a put that is wrong twice, one or the other reason is
//! given; a negative revision of a range means the latest within a transaction too, and a negative
//! bound of revisions means none;
//! an unknown order of sorting is refused, as newer versions of etcd do; without an order but with
//! another target than the key, all keys are sorted, where etcd sorts what it has cut to the limit;
//! the id of a watch that a compaction has ended is free at once. Revisions that belong to one
//! watch may come in one response.
//!
//! `KONTIKI_PARITY_SEED` and `KONTIKI_PARITY_STEPS` run another or a longer history;
//! `KONTIKI_ETCD` names another etcd than
//! Debian's, and `KONTIKI_PARITY_STAND_IN` one that takes our place: how etcd differs from itself.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "etcd_parity/answer.rs"]
mod answer;
#[path = "etcd_parity/etcdctl.rs"]
mod etcdctl;
#[path = "etcd_parity/generate.rs"]
mod generate;
#[path = "etcd_parity/histories.rs"]
mod histories;
#[path = "etcd_parity/pair.rs"]
mod pair;
#[path = "etcd_parity/side.rs"]
mod side;
#[path = "etcd_parity/special.rs"]
mod special;
#[path = "etcd_parity/step.rs"]
mod step;
#[path = "etcd_parity/watching.rs"]
mod watching;
