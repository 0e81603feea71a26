//! The one way of every request: an ordered table of stages.
//!
//! A stage looks at the request, adds what it found out, and either lets it go on or answers. What
//! happens to an object in between (decode, convert, default, admission,
//! validation, transaction) is the business of the verbs, which the last stage calls.

mod audit;
mod authenticate;
mod authorize;
mod fairness;
mod impersonate;
pub mod limits;
mod observe;
mod represent;
mod request_info;
mod route;
mod standing;

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc};

use futures::FutureExt;
use http::{HeaderValue, Response};
use kontiki_api::Status;
use kontiki_base::tasks::panic_message;

use crate::{
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
    metrics,
};

/// What a stage decides.
pub enum Flow {
    /// The next stage has the word.
    Next,
    /// This is the answer.
    Answer(Response<Body>),
}

type StageFuture<'a> = Pin<Box<dyn Future<Output = Result<Flow, Status>> + Send + 'a>>;

/// A stage's function.
pub type Run = for<'a> fn(&'a Arc<Core>, &'a mut Exchange) -> StageFuture<'a>;

/// One row of the table.
pub struct Stage {
    /// Its name, for traces and this page's readers.
    pub name: &'static str,
    /// What it does.
    pub run: Run,
}

const fn stage(name: &'static str, run: Run) -> Stage {
    Stage { name, run }
}

/// The stages in order. Round all of them stand the panic guard and the metrics of [`handle`].
pub static STAGES: &[Stage] = &[
    stage("request info", request_info::run),
    stage("standing", standing::run),
    stage("size limits", limits::run),
    stage("authentication", authenticate::run),
    stage("audit (received)", audit::received),
    stage("impersonation", impersonate::run),
    stage("priority and fairness", fairness::run),
    stage("authorisation", authorize::run),
    stage("route", route::run),
    // Called by the verbs on their way: decode, convert, default, mutating admission, validate,
    // validating admission, transaction.
    stage("serve", route::serve),
    // Round it, in [`handle`]: audit (complete).
];

/// Answers one request.
pub async fn handle(core: Arc<Core>, mut exchange: Exchange) -> Response<Body> {
    let guarded = AssertUnwindSafe(within_deadline(&core, &mut exchange)).catch_unwind().await;
    let panicked = guarded.is_err();
    let mut response = match guarded {
        Ok(Ok(response)) => response,
        Ok(Err(status)) => answer::status(&status),
        Err(panic) => {
            let info = &exchange.info;
            metrics::PANICS.with_label_values(&[info.verb, &info.resource]).inc();
            tracing::error!(
                verb = info.verb,
                path = info.path,
                "a request panicked: {}",
                panic_message(&*panic)
            );
            answer::status(&Status::internal_error("the server panicked at this request"))
        }
    };
    let noted = exchange.notes.take_warnings();
    exchange.warnings.extend(noted);
    for warning in &exchange.warnings {
        let text = format!("299 - {:?}", warning);
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
    observe::finished(&exchange, &response);
    let response = fairness::answered(&core, &mut exchange, response);
    let response = audit::answered(&mut exchange, response, panicked);
    represent::answered(&exchange, response)
}

/// Ordinary requests end when their time is up; long-running ones look after themselves.
async fn within_deadline(
    core: &Arc<Core>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Status> {
    let Some(limit) = limits::deadline(core, exchange) else {
        return walk(core, exchange).await;
    };
    match tokio::time::timeout(limit, walk(core, exchange)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::timeout(
            "request did not complete within requested timeout - context deadline exceeded",
            0,
        )),
    }
}

async fn walk(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    for stage in STAGES {
        if let Flow::Answer(response) = (stage.run)(core, exchange).await? {
            return Ok(response);
        }
    }
    Err(Status::no_such_resource())
}
