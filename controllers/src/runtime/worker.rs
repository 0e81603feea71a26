//! Workers: take a key, observe, plan, execute, and wait until the caches have seen the result.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use http::Method;
use jiff::Timestamp;
use kontiki_base::tasks::panic_message;
use kontiki_client::{Client, Error, EventRecorder, store::Progress};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    execute::{Outcome, Trouble, execute},
    queue::{Done, Queue},
};
use crate::{
    action::{Context, Failure, Plan},
    controller::{Answers, Controller, Question},
    namespace::content,
    world::{Key, Kind, World},
};

/// Progress of the caches by kind.
pub(crate) type Caches = BTreeMap<Kind, Box<dyn Progress>>;

/// A read index or a write may take this long before its key is tried again later.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);

/// One controller at work: its queue, and how the last attempt at each key failed.
pub(crate) struct Loop {
    pub(crate) controller: Box<dyn Controller>,
    pub(crate) queue: Queue,
    failures: Mutex<HashMap<Key, Failure>>,
    /// Keys of which it is not known whether the caches show all they wrote.
    unsettled: Mutex<HashSet<Key>>,
}

impl Loop {
    pub(crate) fn new(controller: Box<dyn Controller>) -> Loop {
        let queue = Queue::new(controller.queue_name());
        Loop { controller, queue, failures: Mutex::default(), unsettled: Mutex::default() }
    }

    /// Forgets everything and starts with all keys.
    pub(crate) fn restart(&self, world: &World) {
        self.failures.lock().clear();
        self.unsettled.lock().clear();
        self.queue.open();
        let mut keys = crate::controller::Keys::new();
        self.controller.all(world, &mut keys);
        self.queue.add(keys);
    }
}

/// What workers share.
pub(crate) struct Shared {
    pub(crate) world: Arc<RwLock<World>>,
    pub(crate) caches: Arc<Caches>,
}

/// Works on keys for ever.
pub(crate) async fn work(
    of: Arc<Loop>,
    shared: Arc<Shared>,
    client: Client,
    recorder: EventRecorder,
) {
    loop {
        let key = of.queue.next().await;
        let started = Instant::now();
        let attempt = AssertUnwindSafe(attempt(&of, &shared, &client, &recorder, &key));
        let done = match tokio::time::timeout(ATTEMPT_MAX, attempt.catch_unwind()).await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => {
                let controller = of.controller.name();
                tracing::error!(controller, %key, "panicked: {}", panic_message(&*panic));
                Done::Retry
            }
            Err(_) => {
                tracing::warn!(controller = of.controller.name(), %key, "took too long");
                Done::Retry
            }
        };
        of.queue.done(&key, done, started.elapsed());
    }
}

async fn attempt(
    of: &Loop,
    shared: &Shared,
    client: &Client,
    recorder: &EventRecorder,
    key: &Key,
) -> Done {
    if of.unsettled.lock().contains(key) {
        match client.read_index().await {
            Ok(revision) => shared.all_passed(revision).await,
            Err(error) => {
                tracing::debug!(controller = of.controller.name(), %key, "no read index: {error}");
                return Done::Retry;
            }
        }
        of.unsettled.lock().remove(key);
    }
    let answers = match observe(of, shared, client, key).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::debug!(controller = of.controller.name(), %key, "not observed: {error}");
            return Done::Retry;
        }
    };
    let plan = decide(of, shared, key, &answers);
    if !plan.reasons.is_empty() {
        let reasons = plan.reasons.join("; ");
        tracing::trace!(controller = of.controller.name(), %key, "waits: {reasons}");
    }
    let (recheck, awaits) = (plan.recheck_after, plan.awaits.clone());
    if !plan.is_idle() {
        // Until proven otherwise: a panic, a time-out or an unknown outcome leave it so.
        of.unsettled.lock().insert(key.clone());
    }
    let outcome = execute(client, recorder, plan).await;
    settle(of, shared, key, outcome, recheck, awaits).await
}

async fn observe(of: &Loop, shared: &Shared, client: &Client, key: &Key) -> Result<Answers, Error> {
    let question = of.controller.asks(&shared.world.read(), key);
    match question {
        None => Ok(Answers::default()),
        Some(Question::Content(namespace)) => {
            let content = Some(content::survey(client, &namespace).await?);
            Ok(Answers { content, ..Answers::default() })
        }
        Some(Question::Access(reviews)) => {
            let mut answers = Answers::default();
            for review in reviews {
                answers.allowed.push(is_allowed(client, &review).await?);
            }
            Ok(answers)
        }
    }
}

async fn is_allowed(client: &Client, spec: &Value) -> Result<bool, Error> {
    const PATH: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec,
    });
    let body = ("application/json", review.to_string().into_bytes());
    let answer = client.call(Method::POST, PATH, Some(body)).await?;
    let answered: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Error::InvalidRequest(format!("{PATH}: {error}")))?;
    Ok(answered["status"]["allowed"] == true)
}

fn decide(of: &Loop, shared: &Shared, key: &Key, answers: &Answers) -> Plan {
    let failure = of.failures.lock().get(key).cloned();
    let context = Context {
        now: Timestamp::now(),
        last_failure: failure.as_ref(),
        content: answers.content.as_ref(),
        allowed: &answers.allowed,
    };
    of.controller.plan(&shared.world.read(), key, context)
}

/// Waits until the caches have seen what was written, and says when to look again. After trouble
/// that is told only by a read index taken later: the next attempt begins with one.
async fn settle(
    of: &Loop,
    shared: &Shared,
    key: &Key,
    outcome: Outcome,
    recheck: Option<Duration>,
    awaits: Vec<(Kind, u64)>,
) -> Done {
    for (kind, revision) in outcome.written {
        shared.passed(kind, revision).await;
    }
    let controller = of.controller.name();
    let Some(trouble) = outcome.trouble else {
        of.failures.lock().remove(key);
        of.unsettled.lock().remove(key);
        if awaits.is_empty() {
            return Done::Settled(recheck);
        }
        for (kind, revision) in awaits {
            shared.passed(kind, revision).await;
        }
        return Done::Again;
    };
    match trouble {
        Trouble::Refused(failure) => {
            tracing::info!(controller, %key, "{} refused: {}", failure.verb, failure.message);
            of.failures.lock().insert(key.clone(), failure);
        }
        Trouble::Stale => tracing::debug!(controller, %key, "the picture was stale"),
        Trouble::Unknown(error) => tracing::debug!(controller, %key, "unknown outcome: {error}"),
    }
    Done::Retry
}

impl Shared {
    async fn passed(&self, kind: Kind, revision: u64) {
        if let Some(cache) = self.caches.get(&kind) {
            cache.passed(revision).await;
        }
    }

    async fn all_passed(&self, revision: u64) {
        futures::future::join_all(self.caches.values().map(|cache| cache.passed(revision))).await;
    }
}
