//! The one request that a joiner makes before it has an identity.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kontiki_base::backoff::Backoff;
use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

use super::pin;
use crate::{
    config::{API_PORT, with_port},
    token::Token,
};

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may stay unreachable or unready, as it does when all start together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why an attempt failed, and whether another one makes sense.
enum Failure {
    /// The server is not there (yet).
    Passing(anyhow::Error),
    /// It said no.
    Final(anyhow::Error),
}

/// Posts a request with the token to `HOST[:PORT]`; a server that is still starting is awaited.
pub(crate) async fn post<Q: Serialize, R: DeserializeOwned>(
    host: &str,
    token: &Token,
    path: &str,
    request: &Q,
) -> Result<R> {
    let server = with_port(host, API_PORT);
    let body = serde_json::to_vec(request).context("cannot write the request")?;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt = attempt(&server, token, path, Bytes::from(body.clone()));
        let failure = match tokio::time::timeout(ATTEMPT_TIMEOUT, attempt).await {
            Ok(Ok(answer)) => {
                return serde_json::from_slice(&answer)
                    .with_context(|| format!("{server} gave an answer that makes no sense"));
            }
            Ok(Err(Failure::Final(error))) => return Err(error),
            Ok(Err(Failure::Passing(error))) => error,
            Err(_) => anyhow!("cannot reach {server}: no answer within {ATTEMPT_TIMEOUT:?}"),
        };
        let delay = backoff.next_delay();
        if Instant::now() + delay >= deadline {
            return Err(failure);
        }
        if backoff.failures() == 1 {
            tracing::info!("waiting for {server}: {failure:#}");
        }
        tokio::time::sleep(delay).await;
    }
}

async fn attempt(server: &str, token: &Token, path: &str, body: Bytes) -> Result<Bytes, Failure> {
    let tcp = TcpStream::connect(server).await.map_err(|error| {
        Failure::Passing(anyhow!(
            "cannot reach {server}: {error}; is a Kontiki server running there?"
        ))
    })?;
    let config = pin::client_config(&token.ca_fingerprint).map_err(|e| Failure::Final(e.into()))?;
    let name = ServerName::try_from(crate::pki::API_SERVER_NAME)
        .map_err(|error| Failure::Final(error.into()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(
        |error| match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::General(what)) => {
                Failure::Final(anyhow!("cannot join {server}: {what}"))
            }
            Some(what) => Failure::Final(anyhow!("cannot join {server}: {what}")),
            None => Failure::Passing(anyhow!("cannot reach {server}: {error}")),
        },
    )?;
    let broken = |error: hyper::Error| Failure::Passing(anyhow!("{server} hung up: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchange = async {
        let request = Request::post(path)
            .header(header::HOST, server)
            .header(header::AUTHORIZATION, format!("Bearer {}", token.bearer()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::Final(error.into()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        judge(server, status, body)
    };
    tokio::select! { biased;
        answer = exchange => answer,
        ended = connection => Err(match ended {
            Ok(()) => Failure::Passing(anyhow!("{server} hung up")),
            Err(error) => broken(error),
        }),
    }
}

fn judge(server: &str, status: StatusCode, body: Bytes) -> Result<Bytes, Failure> {
    if status.is_success() {
        return Ok(body);
    }
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = value["message"].as_str().unwrap_or("no reason given").to_owned();
    Err(match status {
        StatusCode::UNAUTHORIZED => Failure::Final(anyhow!(
            "{server} does not accept the token: it is unknown or expired; make a new one with \
             `kontiki token create` on a server"
        )),
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::INTERNAL_SERVER_ERROR => {
            Failure::Passing(anyhow!("{server} is not ready: {message}"))
        }
        _ => Failure::Final(anyhow!("{server} refused: {message}")),
    })
}

/// The token of a joiner that has none of its own identity yet.
pub(crate) fn required_token(token: Option<&str>) -> Result<Token> {
    let Some(token) = token else {
        bail!(
            "--join needs --token TOKEN the first time; it is in `server-token` or `agent-token` \
             of a server's data folder, or comes from `kontiki token create`"
        );
    };
    Ok(token.parse()?)
}
