//! `/livez`, `/readyz`, `/healthz`: whether this server lives, and whether it can serve.

use std::time::Duration;

use http::{Response, StatusCode};

use crate::{
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
};

/// How long the store may take to say how far it is; an election fits in.
const STORE_MAX: Duration = Duration::from_secs(2);

/// Answers a health request: all checks, or the one that the path names.
pub(crate) async fn serve(
    core: &Core,
    exchange: &Exchange,
    which: &str,
    rest: &[&str],
) -> Response<Body> {
    let mut checks = vec![("ping", true)];
    if which != "livez" {
        let index = tokio::time::timeout(STORE_MAX, core.storage.backend().read_index()).await;
        checks.push(("etcd", matches!(index, Ok(Ok(_)))));
        checks.push(("informer-sync", *core.ready.borrow()));
        checks.push(("shutdown", !core.shutdown.is_cancelled()));
    }
    if let [name] = rest {
        return match checks.iter().find(|(known, _)| known == name) {
            Some((_, true)) => answer::text(StatusCode::OK, "ok"),
            Some((_, false)) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, "not ok"),
            None => answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
    }
    let excluded: Vec<&str> = exchange.query.all("exclude").collect();
    checks.retain(|(name, _)| !excluded.contains(name));
    let healthy = checks.iter().all(|(_, fine)| *fine);
    if healthy && !exchange.query.flag("verbose") {
        return answer::text(StatusCode::OK, "ok");
    }
    let mut text = String::new();
    for (name, fine) in checks {
        let line = if fine {
            format!("[+]{name} ok\n")
        } else {
            format!("[-]{name} failed: reason withheld\n")
        };
        text.push_str(&line);
    }
    let verdict = if healthy { "passed" } else { "failed" };
    text.push_str(&format!("{which} check {verdict}\n"));
    let code = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    answer::text(code, text)
}
