//! `/exec`, `/attach`, `/portForward` and `/run`: talking to a container that runs.
//!
//! The runtime has a streaming server of its own. It is asked for a URL that is good for one
//! connection; the caller's request goes there as it came, and once both sides have switched
//! protocols their connections are joined byte for byte:
//!
//! ```text
//! API server == SPDY or WebSocket over TLS == kubelet == the same over loopback == containerd
//! ```

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Pod;
use kontiki_api::Object;
use kontiki_base::{splice, tasks::TaskKind};
use tokio::{net::TcpStream, time::timeout};

use super::{Body, Shared, logs::newest_pod, query, text};
use crate::{node::context::Context, pod::labels, runtime};

/// Streams at once; more are refused.
pub(super) const STREAMS_MAX: usize = 512;
/// The runtime's server is on this machine: it answers soon or not at all.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Upstream's `streamingConnectionIdleTimeout`.
const IDLE_MAX: Duration = Duration::from_secs(4 * 3600);
/// A refusal of the runtime is read up to here.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How long a command of `/run` may take.
const RUN_MAX: Duration = Duration::from_secs(120);

const STREAM: TaskKind = TaskKind::logged("container stream");
const CONNECTION: TaskKind = TaskKind::logged("runtime connection");

type Refusal = (StatusCode, String);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Exec,
    Attach,
    PortForward,
    Run,
}

/// Which of a container's streams are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streams {
    tty: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

/// A request for a stream, as its path and query say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    action: Action,
    namespace: String,
    pod: String,
    /// Only the pod with this uid is meant, if it is not empty.
    uid: String,
    container: String,
    command: Vec<String>,
    streams: Streams,
    ports: Vec<String>,
}

impl Asked {
    /// Reads the segments of a path: `ACTION/NAMESPACE/POD[/UID]/CONTAINER`, ports without
    /// container.
    pub(super) fn parse(parts: &[&str], query: &str) -> Option<Asked> {
        let (first, rest) = parts.split_first()?;
        let action = match *first {
            "exec" => Action::Exec,
            "attach" => Action::Attach,
            "portForward" => Action::PortForward,
            "run" => Action::Run,
            _ => return None,
        };
        let (namespace, pod, uid, container) = match (action, rest) {
            (Action::PortForward, [namespace, pod]) => (namespace, pod, "", ""),
            (Action::PortForward, [namespace, pod, uid]) => (namespace, pod, *uid, ""),
            (Action::PortForward, _) => return None,
            (_, [namespace, pod, container]) => (namespace, pod, "", *container),
            (_, [namespace, pod, uid, container]) => (namespace, pod, *uid, *container),
            _ => return None,
        };
        let mut asked = Asked {
            action,
            namespace: (*namespace).to_owned(),
            pod: (*pod).to_owned(),
            uid: uid.to_owned(),
            container: container.to_owned(),
            command: Vec::new(),
            streams: Streams::default(),
            ports: Vec::new(),
        };
        asked.read_query(query);
        Some(asked)
    }

    fn read_query(&mut self, query: &str) {
        for (key, value) in query::pairs(query) {
            match key {
                "command" => self.command.push(value),
                "cmd" if self.action == Action::Run => {
                    self.command.extend(value.split(' ').map(str::to_owned));
                }
                "input" => self.streams.stdin = value == "1",
                "output" => self.streams.stdout = value == "1",
                "error" => self.streams.stderr = value == "1",
                "tty" => self.streams.tty = value == "1",
                "port" => self.ports.extend(value.split(',').map(str::to_owned)),
                _ => {}
            }
        }
        // A terminal has one output.
        self.streams.stderr &= !self.streams.tty;
    }

    fn validate(&self) -> Result<(), Refusal> {
        let needs_streams = matches!(self.action, Action::Exec | Action::Attach);
        let Streams { stdin, stdout, stderr, .. } = self.streams;
        if needs_streams && !(stdin || stdout || stderr) {
            let problem = "you must specify at least 1 of stdin, stdout, stderr".to_owned();
            return Err((StatusCode::BAD_REQUEST, problem));
        }
        Ok(())
    }

    fn ports(&self) -> Result<Vec<i32>, Refusal> {
        let number = |text: &String| {
            let port = text.parse::<u16>().ok().filter(|port| *port > 0);
            port.map(i32::from).ok_or_else(|| {
                (StatusCode::BAD_REQUEST, format!("unable to parse {text:?} as a port"))
            })
        };
        self.ports.iter().map(number).collect()
    }
}

pub(super) async fn answer(
    shared: &Shared,
    asked: Asked,
    request: Request<Incoming>,
) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n");
    }
    let outcome = async {
        asked.validate()?;
        if asked.action == Action::Run {
            return run(&shared.context, &asked).await;
        }
        let url = url(&shared.context, &asked).await?;
        join(shared, request, &url).await
    };
    outcome.await.unwrap_or_else(|(status, problem)| text(status, problem))
}

/// Runs a command to its end and answers with what it wrote.
async fn run(context: &Context, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let id = container_id(context, asked).await?;
    let outcome = context.runtime.exec(&id, &asked.command, Some(RUN_MAX)).await;
    let outcome = outcome.map_err(|error| refused(&error))?;
    if outcome.exit_code == 0 {
        return Ok(text(StatusCode::OK, outcome.output));
    }
    let problem = format!("command exited with {}: {}", outcome.exit_code, outcome.output);
    Err((StatusCode::INTERNAL_SERVER_ERROR, problem))
}

/// The address that the runtime opens for this one request.
async fn url(context: &Context, asked: &Asked) -> Result<String, Refusal> {
    let Streams { tty, stdin, stdout, stderr } = asked.streams;
    let runtime = &context.runtime;
    let url = match asked.action {
        Action::Attach => {
            let container_id = container_id(context, asked).await?;
            let request = cri::AttachRequest { container_id, stdin, tty, stdout, stderr };
            runtime.attach_url(request).await.map(|reply| reply.url)
        }
        Action::PortForward => {
            let pod_sandbox_id = sandbox_id(context, asked).await?;
            let request = cri::PortForwardRequest { pod_sandbox_id, port: asked.ports()? };
            runtime.port_forward_url(request).await.map(|reply| reply.url)
        }
        Action::Exec | Action::Run => {
            let container_id = container_id(context, asked).await?;
            let cmd = asked.command.clone();
            let request = cri::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr };
            runtime.exec_url(request).await.map(|reply| reply.url)
        }
    };
    url.map_err(|error| refused(&error))
}

/// What the runtime refused, under upstream's codes.
fn refused(error: &runtime::Error) -> Refusal {
    let code = match error.status.code() {
        tonic::Code::NotFound => StatusCode::NOT_FOUND,
        tonic::Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (code, error.message().to_owned())
}

fn find_pod(context: &Context, asked: &Asked) -> Result<std::sync::Arc<Pod>, Refusal> {
    newest_pod(context, &asked.namespace, &asked.pod)
        .filter(|pod| asked.uid.is_empty() || pod.uid() == asked.uid)
        .ok_or_else(|| (StatusCode::NOT_FOUND, "pod does not exist".to_owned()))
}

/// The running container that is meant.
async fn container_id(context: &Context, asked: &Asked) -> Result<String, Refusal> {
    let pod = find_pod(context, asked)?;
    let known = context.runtime.containers(Some(pod.uid())).await.map_err(|e| refused(&e))?;
    let is_meant = |container: &&cri::Container| {
        container.state() == cri::ContainerState::ContainerRunning
            && container.labels.get(labels::CONTAINER_NAME) == Some(&asked.container)
    };
    let found = known.iter().filter(is_meant).max_by_key(|container| container.created_at);
    found.map(|container| container.id.clone()).ok_or_else(|| {
        let problem = format!("container not found ({:?})", asked.container);
        (StatusCode::NOT_FOUND, problem)
    })
}

/// The sandbox whose ports are meant.
async fn sandbox_id(context: &Context, asked: &Asked) -> Result<String, Refusal> {
    let pod = find_pod(context, asked)?;
    let known = context.runtime.sandboxes(Some(pod.uid())).await.map_err(|e| refused(&e))?;
    let ready = cri::PodSandboxState::SandboxReady;
    let newest = known.iter().filter(|s| s.state() == ready).max_by_key(|s| s.created_at);
    newest.map(|sandbox| sandbox.id.clone()).ok_or_else(|| {
        let problem = format!("failed to find sandboxID for pod {}_{}", asked.pod, asked.namespace);
        (StatusCode::INTERNAL_SERVER_ERROR, problem)
    })
}

/// Passes a request on to the runtime's server; joins the connections if it switches protocols.
async fn join(
    shared: &Shared,
    mut request: Request<Incoming>,
    url: &str,
) -> Result<Response<Body>, Refusal> {
    let permit = shared.streams.clone().try_acquire_owned().map_err(|_| {
        (StatusCode::TOO_MANY_REQUESTS, "too many streams are open on this node".to_owned())
    })?;
    let client = hyper::upgrade::on(&mut request);
    let failed = |error: &dyn std::fmt::Display| {
        let problem = format!("error dialing the container runtime: {error}");
        (StatusCode::INTERNAL_SERVER_ERROR, problem)
    };
    let asking = ask(shared, &request, url);
    let mut response = match timeout(ANSWER_MAX, asking).await {
        Ok(response) => response.map_err(|error| failed(&error))?,
        Err(_) => return Err(failed(&"no answer in time")),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(refusal(response).await);
    }
    let runtime = hyper::upgrade::on(&mut response);
    let shutdown = shared.tasks.shutdown();
    shared.tasks.spawn_infallible(STREAM, async move {
        let _permit = permit;
        let joined = async {
            match tokio::try_join!(client, runtime) {
                Ok((client, runtime)) => {
                    let (client, runtime) = (TokioIo::new(client), TokioIo::new(runtime));
                    splice::splice(client, runtime, IDLE_MAX).await;
                }
                Err(error) => tracing::debug!("a stream ended before it began: {error}"),
            }
        };
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            () = joined => {}
        }
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
}

async fn ask(
    shared: &Shared,
    request: &Request<Incoming>,
    url: &str,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let url: Uri = url.parse()?;
    let authority = url.authority().ok_or("the runtime's URL names no host")?.clone();
    let stream = TcpStream::connect(authority.as_str()).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let shutdown = shared.tasks.shutdown();
    shared.tasks.spawn_infallible(CONNECTION, async move {
        // A broken connection shows at the answer that is read from it.
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            _ = connection.with_upgrades() => {}
        }
    });
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut passed = Request::builder().method(request.method()).uri(path);
    if let Some(headers) = passed.headers_mut() {
        *headers = passed_on(request.headers());
        headers.insert(header::HOST, authority.as_str().parse()?);
    }
    Ok(sender.send_request(passed.body(Empty::<Bytes>::new())?).await?)
}

/// The runtime needs to know how to talk, not who asks.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in [header::AUTHORIZATION, header::COOKIE, header::CONTENT_LENGTH] {
        passed.remove(name);
    }
    passed
}

async fn refusal(response: Response<Incoming>) -> Response<Body> {
    let status = response.status();
    let status = if status.as_u16() < 400 { StatusCode::BAD_GATEWAY } else { status };
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
    text(status, body.collect().await.map(|all| all.to_bytes()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let seen = match Asked::parse(&parts, query) {
            None => "nothing".to_owned(),
            Some(asked) => match asked.validate().and_then(|()| asked.ports()) {
                Err((code, problem)) => format!("{} {problem}", code.as_u16()),
                Ok(ports) => {
                    let Streams { tty, stdin, stdout, stderr } = asked.streams;
                    let set = [(tty, 't'), (stdin, '0'), (stdout, '1'), (stderr, '2')];
                    let set: String = set.iter().filter(|(on, _)| *on).map(|(_, c)| *c).collect();
                    let Asked { action, namespace, pod, uid, container, command, .. } = asked;
                    format!(
                        "{action:?} {namespace}/{pod}[{uid}]/{container} {command:?} {set} {ports:?}"
                    )
                }
            },
        };
        assert_eq!(seen, expected, "{uri}");
    }

    #[test]
    fn requests_are_read_as_upstream_reads_them() {
        check(
            "/exec/ns/p/c?command=sh&command=-c&command=echo%20%22a%2Bb%22&output=1&error=1",
            r#"Exec ns/p[]/c ["sh", "-c", "echo \"a+b\""] 12 []"#,
        );
        check(
            "/exec/ns/p/uid/c?command=x&input=1&tty=1&error=1",
            r#"Exec ns/p[uid]/c ["x"] t0 []"#,
        );
        check("/attach/ns/p/c?output=1", "Attach ns/p[]/c [] 1 []");
        check("/attach/ns/p/c", "400 you must specify at least 1 of stdin, stdout, stderr");
        check(
            "/exec/ns/p/c?command=x&tty=1&error=1",
            "400 you must specify at least 1 of stdin, stdout, stderr",
        );
        check("/portForward/ns/p", "PortForward ns/p[]/ []  []");
        check(
            "/portForward/ns/p/uid?port=80,443&port=1",
            "PortForward ns/p[uid]/ []  [80, 443, 1]",
        );
        check("/portForward/ns/p?port=0", "400 unable to parse \"0\" as a port");
        check("/run/ns/p/c?cmd=ls%20-l", r#"Run ns/p[]/c ["ls", "-l"]  []"#);
        check("/exec/ns/p", "nothing");
        check("/portForward/ns/p/uid/more", "nothing");
        check("/pods", "nothing");
    }

    #[test]
    fn credentials_stay_here() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "Bearer secret".parse().unwrap());
        headers.insert(header::UPGRADE, "SPDY/3.1".parse().unwrap());
        let passed = passed_on(&headers);
        assert_eq!(passed.len(), 1);
        assert_eq!(passed[header::UPGRADE], "SPDY/3.1");
    }
}
