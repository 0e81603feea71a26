//! Resource quotas at the write itself: what an object adds is checked against `status.used` and
//! charged in the very transaction that writes it, what it gives back is credited likewise.
//!
//! ```text
//! write ──> turn of the namespace ──> settle with every quota (pure) ──> one transaction:
//!              object as expected?  quota as read?   object := new, quota.status.used := used
//! ```
//!
//! A revision must not carry two events of one resource, so only one quota rides along. Where an
//! object counts for several, the others are charged just before; if the object is not written
//! after all, they get it back. [`mod@recount`] counts from nothing when a quota is new or changed.

mod recount;
mod turns;

use bytes::Bytes;
use kontiki_api::{
    Status, meta,
    quantity::Quantity,
    quota::{self, Counted},
};
use kontiki_raft::types::Revision;
use serde_json::{Value, json};

pub(crate) use recount::run as recount;
pub(crate) use turns::Turns;

use crate::{
    cache::{Resource, object::Object},
    core::{Core, unavailable},
    storage::{Charge, Expected, Outcome, Write, envelope},
    verbs::stored::{Target, Writer},
};

/// Most times that another write to a quota may come in between.
const ATTEMPTS_MAX: usize = 64;

/// One write as quotas see it.
#[derive(Clone, Copy)]
pub(crate) struct Settlement<'a> {
    pub(crate) core: &'a Core,
    pub(crate) writer: &'a Writer,
    pub(crate) target: Target<'a>,
    pub(crate) new: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
}

/// A quota as it was read, and what it becomes.
struct Bill {
    key: Bytes,
    revision: Revision,
    before: Value,
    after: Value,
}

impl Bill {
    fn charge(&self) -> Charge {
        Charge {
            key: self.key.clone(),
            revision: self.revision,
            value: envelope::seal(&self.after),
        }
    }
}

impl<'a> Settlement<'a> {
    /// Whether there is anything to settle at all: the common case costs one look at an index.
    pub(crate) fn concerns_nobody(&self) -> bool {
        let Some(quotas) = self.quotas() else { return true };
        quotas.cache.is_empty()
            || self.target.namespace.is_empty()
            || !self.core.admission.charges()
            || self.kind().group == "events.k8s.io"
            || (self.kind().group.is_empty() && self.kind().resource == "events")
            || self.found().is_empty()
    }

    fn quotas(&self) -> Option<&'a Resource> {
        self.core.caches.served("", "resourcequotas").map(|resource| &**resource)
    }

    fn found(&self) -> Vec<std::sync::Arc<Object>> {
        self.core.in_namespace("", "resourcequotas", self.target.namespace)
    }

    fn kind(&self) -> Counted<'a> {
        let row = &self.target.resource.row;
        Counted { group: &row.group, resource: &row.resource }
    }

    /// What every quota of the namespace has to say, as the cache has them.
    fn bills(&self) -> Result<Vec<Bill>, Status> {
        let mut bills = Vec::new();
        for object in self.found() {
            bills.extend(self.bill(&object)?);
        }
        Ok(bills)
    }

    /// What one quota has to say.
    fn bill(&self, object: &Object) -> Result<Option<Bill>, Status> {
        let Some(resource) = self.quotas() else { return Ok(None) };
        let before = object.value();
        if self.is_own(&before) {
            return Ok(None);
        }
        let settled = quota::settle(&before, self.kind(), self.new, self.old, self.writer.now);
        let Some(used) = settled.map_err(|why| self.refusal(&why))? else { return Ok(None) };
        let mut after = before.clone();
        after["status"]["used"] = quota::write(&used);
        let key = resource.key(self.target.namespace, object.name());
        Ok(Some(Bill { key, revision: object.revision, before, after }))
    }

    /// A quota does not count itself while it is written.
    fn is_own(&self, quota: &Value) -> bool {
        self.kind() == QUOTAS && meta::name(quota) == self.target.name
    }

    fn refusal(&self, why: &str) -> Status {
        let row = &self.target.resource.row;
        Status::forbidden(&row.group, &row.resource, self.target.name, why)
    }

    /// Refuses what does not fit; a refusal is decided on what is there now, not on what a cache
    /// shows that may be a moment behind.
    async fn agreed(&self) -> Result<Vec<Bill>, Status> {
        match self.bills() {
            Err(_) => {
                self.core.catch_up().await?;
                self.bills()
            }
            bills => bills,
        }
    }

    /// Whether it fits, without charging.
    pub(crate) async fn check(&self) -> Result<(), Status> {
        self.agreed().await.map(drop)
    }

    /// Writes, with what it costs.
    pub(crate) async fn write(&self, write: Write<'_>) -> Result<Outcome, Status> {
        let _turn = self.core.quota_turns.of(self.target.namespace).await;
        // Every server charges in the same order and keeps what it has charged in advance while it
        // tries again for the last one, so that nothing is charged and given back in vain.
        let mut bills = self.agreed().await?;
        let mut rides = if self.kind() == QUOTAS { None } else { bills.pop() };
        self.advance(&mut bills).await?;
        for _ in 0..ATTEMPTS_MAX {
            let charge = rides.as_ref().map(Bill::charge);
            let written =
                self.core.storage.write(Write { charge: charge.as_ref(), ..write.clone() });
            let outcome = written.await.map_err(|error| unavailable(&error))?;
            match outcome {
                Outcome::Written(revision) => {
                    // The next in turn finds it in the cache.
                    let _ = self.core.caches.wait_for(revision).await;
                    return Ok(outcome);
                }
                Outcome::ChargeLost => match self.renewed(rides.as_ref()).await {
                    Ok(bill) => rides = bill,
                    Err(status) => {
                        self.refund(&bills).await;
                        return Err(status);
                    }
                },
                other => {
                    self.refund(&bills).await;
                    return Ok(other);
                }
            }
        }
        self.refund(&bills).await;
        Err(self.outpaced())
    }

    fn outpaced(&self) -> Status {
        self.refusal("the resource quotas of its namespace change too quickly, try again")
    }

    /// The bill of the same quota as it is now; `None` if it has nothing to say any more.
    async fn renewed(&self, lost: Option<&Bill>) -> Result<Option<Bill>, Status> {
        self.core.catch_up().await?;
        let Some(lost) = lost else { return Ok(None) };
        let name = meta::name(&lost.before);
        let now = self.core.look_up("", "resourcequotas", self.target.namespace, name);
        now.map_or(Ok(None), |now| self.bill(&now))
    }

    /// Charges quotas by themselves, in order; all or none.
    async fn advance(&self, bills: &mut Vec<Bill>) -> Result<(), Status> {
        let mut charged: Vec<Bill> = Vec::new();
        for bill in std::mem::take(bills) {
            match self.charge_alone(bill).await {
                Ok(bill) => charged.extend(bill),
                Err(status) => {
                    self.refund(&charged).await;
                    return Err(status);
                }
            }
        }
        *bills = charged;
        Ok(())
    }

    async fn charge_alone(&self, bill: Bill) -> Result<Option<Bill>, Status> {
        let mut next = Some(bill);
        for _ in 0..ATTEMPTS_MAX {
            let Some(bill) = next else { return Ok(None) };
            if self.put(bill.charge()).await? {
                return Ok(Some(bill));
            }
            next = self.renewed(Some(&bill)).await?;
        }
        Err(self.outpaced())
    }

    /// Gives back what was charged in advance. If that fails, the next recount does it.
    async fn refund(&self, bills: &[Bill]) {
        for bill in bills {
            if !self.give_back(bill).await.unwrap_or(false) {
                let name = meta::name(&bill.before);
                tracing::debug!(quota = name, "a charge is given back by the next recount");
            }
        }
    }

    async fn give_back(&self, bill: &Bill) -> Result<bool, Status> {
        let used = |quota: &Value| quota::read(&quota["status"]["used"]);
        let (charged, before) = (used(&bill.after), used(&bill.before));
        for _ in 0..ATTEMPTS_MAX {
            self.core.catch_up().await?;
            let name = meta::name(&bill.before);
            let now = self.core.look_up("", "resourcequotas", self.target.namespace, name);
            let Some(now) = now else { return Ok(true) };
            let mut value = now.value();
            let mut left = used(&value);
            for (name, sum) in &mut left {
                let of = |list: &quota::Usage| list.get(name).copied().unwrap_or_default();
                *sum = (*sum + of(&before) - of(&charged)).max(Quantity::default());
            }
            value["status"]["used"] = quota::write(&left);
            let value = envelope::seal(&value);
            let (key, revision) = (bill.key.clone(), now.revision);
            if self.put(Charge { key, revision, value }).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn put(&self, charge: Charge) -> Result<bool, Status> {
        let written = self.core.storage.write(Write {
            key: charge.key,
            expected: Expected::Revision(charge.revision),
            value: Some(charge.value),
            take: &[],
            release: Vec::new(),
            time_to_live: None,
            fence: None,
            charge: None,
        });
        let outcome = written.await.map_err(|error| unavailable(&error))?;
        Ok(matches!(outcome, Outcome::Written(_)))
    }
}

const QUOTAS: Counted<'static> = Counted { group: "", resource: "resourcequotas" };

/// A quota's status after a count.
fn with_status(quota: &Value, used: &quota::Usage) -> Value {
    let mut updated = quota.clone();
    updated["status"] = json!({"hard": quota["spec"]["hard"], "used": quota::write(used)});
    updated
}
