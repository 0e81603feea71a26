//! Asking whoever serves a queue, and hearing of it when nobody does any more.
//!
//! A question that is put into a channel in the moment in which its receiver goes may stay there: it is
//! dropped, and with it the means to answer it, only once nobody can ask any more. So whoever waits for
//! an answer watches the queue, too.

use tokio::sync::{mpsc, oneshot};

/// The answer to a question that was put into `queue`; `None` when nobody will answer it.
pub(crate) async fn answer_of<Q, A>(
    queue: &mpsc::Sender<Q>,
    mut answer: oneshot::Receiver<A>,
) -> Option<A> {
    tokio::select! { biased;
        answered = &mut answer => answered.ok(),
        // What was answered before the end counts.
        () = queue.closed() => answer.try_recv().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_is_asked_while_the_queue_ends_is_not_waited_for() {
        let (queue, served) = mpsc::channel(8);
        let (answer, answered) = oneshot::channel::<u32>();
        // A sender that has its place, and is not there yet.
        let place = queue.reserve().await.unwrap();
        drop(served);
        place.send(answer);
        assert_eq!(answer_of(&queue, answered).await, None);
    }

    #[tokio::test]
    async fn what_was_answered_counts() {
        let (queue, mut served) = mpsc::channel(8);
        let (answer, answered) = oneshot::channel();
        queue.send(answer).await.unwrap();
        let last: oneshot::Sender<u32> = served.recv().await.unwrap();
        last.send(7).unwrap();
        drop(served);
        assert_eq!(answer_of(&queue, answered).await, Some(7));
    }
}
