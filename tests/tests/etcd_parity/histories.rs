//! Runs histories on both sides.

use kontiki_tests::etcd::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, WatchCreateRequest,
};

use crate::{
    generate::Generator,
    pair::Pair,
    step::{Request, Step},
};

/// Steps of a history unless another number is asked for.
const STEPS: usize = 2_000;
/// Watches of one stream that are left open: the oldest makes room.
const WATCHES_MAX: usize = 6;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

impl Pair {
    /// After a watch was created: room for the next, and a past that has been delivered. Later
    /// steps may compact it, and when etcd reads it is its own affair.
    async fn created(&mut self, at: usize, request: &WatchCreateRequest, revision: i64) {
        if request.start_revision > 0 && request.start_revision <= revision {
            let key = if request.key.is_empty() { "\0".into() } else { request.key.clone() };
            let put = PutRequest { key: key.clone(), value: "seen".into(), ..Default::default() };
            self.ask(&Step { at, request: Request::Put(put) }).await;
            let delete = DeleteRangeRequest { key, ..Default::default() };
            self.ask(&Step { at, request: Request::Delete(delete) }).await;
            self.settle().await;
        }
        let open = self.theirs.members[at].stream.open_watches();
        let open: Vec<i64> = open.map(|(id, _)| id).collect();
        if open.len() > WATCHES_MAX {
            self.ask(&Step { at, request: Request::CancelWatch(open[0]) }).await;
        }
    }

    async fn run(&mut self, seed: u64, steps: usize) {
        let mut generator = Generator::new(seed, self.revision().await);
        for _ in 0..steps {
            let step = generator.step();
            if let Request::Compact(_) = step.request {
                // What is before an event can only be told until it is compacted.
                self.settle().await;
            }
            let answer = self.ask(&step).await;
            if let Request::Watch(request) = &step.request
                && !answer.contains("canceled: true")
            {
                self.created(step.at, request, generator.revision).await;
            }
            if let Some(revision) = revision_of(&answer) {
                generator.revision = revision.max(generator.revision);
            }
        }
        self.settle().await;
    }
}

/// The revision of the answer's header.
fn revision_of(answer: &str) -> Option<i64> {
    let (_, rest) = answer.split_once("ResponseHeader {")?;
    let (_, rest) = rest.split_once("revision: ")?;
    rest.split(',').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_what_etcd_answers() {
    let seed = setting("KONTIKI_PARITY_SEED").unwrap_or(1);
    let steps = setting("KONTIKI_PARITY_STEPS").map_or(STEPS, |s| usize::try_from(s).unwrap());
    let mut pair = Pair::start().await;
    pair.run(seed, steps).await;
}
