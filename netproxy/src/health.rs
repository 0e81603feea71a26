//! `/healthz`, `/livez` and `/metrics` on kube-proxy's health port.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{Timestamp, ToSpan};
use kontiki_base::tasks::{TaskKind, Tasks};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::metrics::METRICS;

const CONNECTIONS_MAX: usize = 64;

/// Changes that wait longer than this mean that the rules are not kept up (twice upstream's sync
/// period).
const QUEUED_SECONDS_MAX: i64 = 60;

/// When rules were last changed, and since when a change waits.
#[derive(Debug, Default)]
pub struct Health(Mutex<Times>);

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    updated: Option<Timestamp>,
    queued: Option<Timestamp>,
}

impl Health {
    /// A change waits to be applied.
    pub fn queued(&self, now: Timestamp) {
        METRICS.last_queued.set(now.as_duration().as_secs_f64());
        self.0.lock().queued.get_or_insert(now);
    }

    /// Everything that waited was applied.
    pub fn updated(&self, now: Timestamp) {
        METRICS.last_sync.set(now.as_duration().as_secs_f64());
        *self.0.lock() = Times { updated: Some(now), queued: None };
    }

    /// Whether the rules are kept up: they were written once, and no change waits for long.
    fn report(&self, now: Timestamp) -> (bool, String) {
        let times = *self.0.lock();
        let is_late = times.queued.is_some_and(|since| since + QUEUED_SECONDS_MAX.seconds() < now);
        let is_healthy = times.updated.is_some() && !is_late;
        let updated = times.updated.unwrap_or(Timestamp::UNIX_EPOCH);
        let text = format!(r#"{{"lastUpdated": "{updated}","currentTime": "{now}"}}"#);
        (is_healthy, text)
    }

    /// Serves the endpoint until the tasks are stopped.
    pub async fn listen(self: &Arc<Self>, address: SocketAddr, tasks: &Tasks) -> io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let (health, group, shutdown) = (self.clone(), tasks.clone(), tasks.shutdown());
        tasks.spawn_infallible(TaskKind::logged("proxy health"), async move {
            shutdown.run_until_cancelled(health.serve(&listener, &group)).await;
        });
        Ok(())
    }

    async fn serve(self: &Arc<Self>, listener: &TcpListener, tasks: &Tasks) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
            let (health, shutdown) = (self.clone(), tasks.shutdown());
            tasks.spawn_infallible(TaskKind::logged("proxy health connection"), async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let response = health.answer(request.uri().path());
                    async { Ok::<_, Infallible>(response) }
                });
                let serve = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let _ = shutdown.run_until_cancelled(serve).await;
                drop(slot);
            });
        }
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (is_healthy, text) = self.report(Timestamp::now());
        let (status, text) = match path {
            "/healthz" if is_healthy => (StatusCode::OK, text),
            "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, text),
            "/livez" => (StatusCode::OK, text),
            "/metrics" => (StatusCode::OK, kontiki_base::telemetry::metrics_text()),
            _ => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        };
        let kind =
            if path == "/metrics" { "text/plain; version=0.0.4" } else { "application/json" };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert("content-type", hyper::header::HeaderValue::from_static(kind));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_means_written_once_and_not_waiting_for_long() {
        let (health, start) = (Health::default(), Timestamp::UNIX_EPOCH);
        let at = |seconds: i64| start + seconds.seconds();
        assert!(!health.report(at(0)).0);
        health.queued(at(1));
        health.updated(at(2));
        assert!(health.report(at(1000)).0, "a quiet cluster is healthy");
        health.queued(at(1001));
        health.queued(at(1050));
        assert!(health.report(at(1061)).0);
        assert!(!health.report(at(1062)).0, "since the first change, not the last");
        health.updated(at(1070));
        assert!(health.report(at(1071)).0);
    }
}
