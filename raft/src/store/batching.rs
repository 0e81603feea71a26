//! Group commit at the leader: proposals that come while others are under way leave together.
//!
//! ```text
//! callers here ────────────┐
//!                          ├─▶ queue ──▶ batch ─▶ log, followers, state ─▶ answers
//! callers of other members ┘      (the next one gathers meanwhile)
//! ```
//!
//! A batch costs every member a flush, messages and a dozen wake-ups, however many proposals it
//! holds: far more than each of them. So one is under way at a time, and what comes meanwhile is the
//! next; it would wait for the flush of the one before in any case. A lone proposal never waits.
//!
//! Callers that were just answered ask again, but not at once: their answers and next proposals are
//! on their way through other members and processes. Were a batch to leave as soon as the one before
//! is done, callers would split into many small parties that follow each other. So, where several
//! ask at once, a batch waits until most of those who were here lately are back, for a moment at
//! most (as PostgreSQL does with `commit_delay` and `commit_siblings`).

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use kontiki_base::CancellationToken;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    Inner,
    proposing::{Attempt, not_written},
};
use crate::command::{Proposal, Reply};

/// Callers' messages that wait for the next batch.
const QUEUE_MAX: usize = 4_096;
/// A batch with so many proposals, or bytes, is full. The message that fills it goes whole.
const BATCH_PROPOSALS_MAX: usize = 1_024;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// With fewer callers at once nobody waits for others.
const SIBLINGS_MIN: usize = 8;
/// How long a batch waits for callers to come back: a timer's shortest.
const SIBLINGS_WAIT: Duration = Duration::from_millis(1);

/// A proposal, and who waits for its answer.
pub(super) struct Asked {
    proposal: Proposal,
    answer: oneshot::Sender<Attempt<Reply>>,
}

/// What comes of it; an error if the store stops before.
pub(super) type Answer = oneshot::Receiver<Attempt<Reply>>;

impl Asked {
    pub(super) fn new(proposal: Proposal) -> (Asked, Answer) {
        let (answer, answered) = oneshot::channel();
        (Asked { proposal, answer }, answered)
    }
}

/// Where proposals are handed in. What one message holds stays together.
pub(super) type Batching = mpsc::Sender<Vec<Asked>>;
pub(super) type Queue = mpsc::Receiver<Vec<Asked>>;

pub(super) fn queue() -> (Batching, Queue) {
    mpsc::channel(QUEUE_MAX)
}

/// Proposes what is queued until `shutdown`.
pub(super) async fn run(inner: Arc<Inner>, queue: Queue, shutdown: CancellationToken) {
    let write = |proposals: Vec<Proposal>| {
        let inner = inner.clone();
        async move {
            let written = inner.raft.client_write_many(proposals).await.ok()?;
            let answers = written.map(|written| match written {
                Ok(Ok(written)) => Attempt::Done(written.response),
                Ok(Err(error)) => not_written(&error),
                Err(_) => Attempt::Stopped,
            });
            Some(answers.boxed())
        }
    };
    tokio::select! { biased;
        () = shutdown.cancelled() => {}
        () = batch(queue, write) => {}
    }
}

/// Writes what is queued, in batches; ends when nobody can queue any more.
async fn batch<W>(mut queue: Queue, write: impl Fn(Vec<Proposal>) -> W)
where
    W: Future<Output = Option<BoxStream<'static, Attempt<Reply>>>>,
{
    let mut siblings = Siblings::default();
    let mut answered = 0;
    loop {
        let mut batch = Batch::default();
        batch.gather(&mut queue);
        siblings.saw(answered + batch.asked.len());
        if batch.asked.is_empty() {
            let Some(first) = queue.recv().await else { return };
            batch.add(first);
            batch.gather(&mut queue);
        }
        siblings.join(&mut batch, &mut queue).await;
        answered = batch.asked.len();
        propose(batch.asked, &write).await;
    }
}

/// What is proposed together.
#[derive(Default)]
struct Batch {
    asked: Vec<Asked>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, message: Vec<Asked>) {
        self.bytes += message.iter().map(|one| one.proposal.0.len()).sum::<usize>();
        self.asked.extend(message);
    }

    fn is_full(&self) -> bool {
        self.asked.len() >= BATCH_PROPOSALS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Takes up what waits, while there is room.
    fn gather(&mut self, queue: &mut Queue) {
        while !self.is_full()
            && let Ok(message) = queue.try_recv()
        {
            self.add(message);
        }
    }
}

/// Whom a batch may expect: callers propose again when they are answered.
#[derive(Default)]
struct Siblings {
    /// How many were here at once, of late.
    callers: usize,
}

impl Siblings {
    /// So many were in a batch, or waited when it was done.
    fn saw(&mut self, callers: usize) {
        self.callers = callers.max(self.callers - self.callers.div_ceil(8));
    }

    /// With so many a batch leaves. The more it waits for, the fewer can come while it is under way.
    fn enough(&self) -> usize {
        if self.callers < SIBLINGS_MIN { 1 } else { self.callers * 3 / 5 }
    }

    /// Lets a batch wait for more, if more are likely.
    async fn join(&mut self, batch: &mut Batch, queue: &mut Queue) {
        let deadline = Instant::now() + SIBLINGS_WAIT;
        while !batch.is_full() && batch.asked.len() < self.enough() {
            match timeout_at(deadline, queue.recv()).await {
                Ok(Some(message)) => {
                    batch.add(message);
                    batch.gather(queue);
                }
                Ok(None) => break,
                // Who did not come is not expected any more.
                Err(_) => self.callers = batch.asked.len(),
            }
        }
    }
}

/// Proposes one batch and passes the answers on, until it is applied.
async fn propose<W>(asked: Vec<Asked>, write: impl Fn(Vec<Proposal>) -> W)
where
    W: Future<Output = Option<BoxStream<'static, Attempt<Reply>>>>,
{
    // Who has gone meanwhile asks again elsewhere, or not at all.
    let waiting = asked.into_iter().filter(|one| !one.answer.is_closed());
    let (proposals, callers): (Vec<Proposal>, Vec<_>) =
        waiting.map(|one| (one.proposal, one.answer)).unzip();
    if proposals.is_empty() {
        return;
    }
    // Callers that are left without an answer learn so when their end is dropped.
    let Some(answers) = write(proposals).await else { return };
    let mut answers = answers.zip(futures::stream::iter(callers));
    while let Some((answer, caller)) = answers.next().await {
        let _ = caller.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use parking_lot::Mutex;

    use super::*;

    fn proposal(name: &str) -> (Asked, Answer) {
        Asked::new(Proposal(name.to_owned().into()))
    }

    /// A batch as it was written, and who lets it go on.
    struct One(Vec<String>, Option<oneshot::Sender<()>>);

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<One>>>);

    impl Written {
        fn write(
            &self,
            proposals: &[Proposal],
        ) -> impl Future<Output = Option<BoxStream<'static, Attempt<Reply>>>> + use<> {
            let (go, goes) = oneshot::channel::<()>();
            let names = proposals.iter().map(|p| String::from_utf8_lossy(&p.0).into_owned());
            self.0.lock().push(One(names.collect(), Some(go)));
            let count = proposals.len();
            let answers = goes.into_stream().flat_map(move |_| {
                futures::stream::iter((0..count).map(|_| Attempt::Done(Reply::None)))
            });
            std::future::ready(Some(answers.boxed()))
        }

        fn names(&self) -> Vec<Vec<String>> {
            self.0.lock().iter().map(|one| one.0.clone()).collect()
        }

        fn finish(&self, batch: usize) {
            let _ = self.0.lock()[batch].1.take().unwrap().send(());
        }
    }

    #[tokio::test]
    async fn what_comes_while_a_batch_is_under_way_is_the_next() {
        let written = Written::default();
        let (batching, queue) = queue();
        let mut run = Box::pin(batch(queue, |proposals| written.write(&proposals)));
        let mut answers = Vec::new();
        for names in ["a", "b", "c d", "e"] {
            let (asked, more): (Vec<_>, Vec<_>) = names.split(' ').map(proposal).unzip();
            batching.send(asked).await.unwrap();
            answers.extend(more);
            assert!((&mut run).now_or_never().is_none());
        }
        assert_eq!(written.names(), [["a"]], "the first does not wait");
        drop(answers.pop());
        written.finish(0);
        assert!((&mut run).now_or_never().is_none());
        assert_eq!(written.names()[1], ["b", "c", "d"], "nobody waits for e any more");
        assert!(matches!(answers[0].try_recv(), Ok(Attempt::Done(Reply::None))));
        assert!(answers[1].try_recv().is_err(), "its batch is still under way");
        written.finish(1);
        drop(batching);
        run.await;
        for answer in &mut answers[1..] {
            assert!(matches!(answer.try_recv(), Ok(Attempt::Done(Reply::None))));
        }
    }

    #[tokio::test]
    async fn a_batch_is_bounded() {
        let (batching, mut queue) = queue();
        let mut answers = Vec::new();
        for size in [BATCH_BYTES_MAX / 2, BATCH_BYTES_MAX, 1] {
            let (asked, answer) = Asked::new(Proposal(vec![0; size].into()));
            batching.send(vec![asked]).await.unwrap();
            answers.push(answer);
        }
        let mut siblings = Siblings { callers: 100 };
        let mut first = Batch::default();
        first.gather(&mut queue);
        assert_eq!(first.asked.len(), 2, "full with the second");
        siblings.join(&mut first, &mut queue).await;
        assert_eq!(first.asked.len(), 2, "whoever may come");
        let mut last = Batch::default();
        last.gather(&mut queue);
        assert_eq!(last.asked.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_those_who_were_here_lately() {
        let (batching, mut queue) = queue();
        let mut answers = Vec::new();
        let mut send = async |count: usize| {
            let (asked, more): (Vec<_>, Vec<_>) = (0..count).map(|_| proposal("x")).unzip();
            answers.extend(more);
            batching.send(asked).await.unwrap();
        };
        let mut siblings = Siblings::default();
        siblings.saw(SIBLINGS_MIN - 1);
        assert_eq!(siblings.enough(), 1, "so few do not wait for each other");
        siblings.saw(20);
        assert_eq!(siblings.enough(), 12);

        let start = Instant::now();
        let mut batch = Batch::default();
        send(11).await;
        batch.gather(&mut queue);
        {
            let mut joined = Box::pin(siblings.join(&mut batch, &mut queue));
            assert!((&mut joined).now_or_never().is_none());
            send(2).await;
            assert!(joined.now_or_never().is_some());
        }
        assert_eq!((batch.asked.len(), start.elapsed()), (13, Duration::ZERO));

        let mut batch = Batch::default();
        send(9).await;
        batch.gather(&mut queue);
        siblings.join(&mut batch, &mut queue).await;
        assert_eq!(batch.asked.len(), 9);
        assert!(start.elapsed() >= SIBLINGS_WAIT, "the others might have come");
        assert_eq!(siblings.enough(), 5, "and are not expected any more");
        for _ in 0..3 {
            siblings.saw(1);
        }
        assert_eq!(siblings.enough(), 1);
    }
}
