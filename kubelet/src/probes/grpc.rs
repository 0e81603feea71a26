//! The question of gRPC's health checking protocol (`grpc.health.v1.Health/Check`), asked without
//! TLS as upstream does.

use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const SERVING: i32 = 1;
/// The answers by their numbers.
const NAMES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Whose health is asked for; empty is the whole server's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Asks a server, by its address and port, for the health of a service. The error is upstream's
/// message.
pub async fn probe(address: &str, service: &str, limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    let Ok(channel) = timeout_at(end, connect(address)).await else {
        return Err(format!(
            "timeout: failed to connect service {address:?} within {limit:?}: context deadline \
             exceeded"
        ));
    };
    match timeout_at(end, ask(channel?, service)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("timeout: health rpc did not complete within {limit:?}")),
    }
}

async fn connect(address: &str) -> Result<Channel, String> {
    let unreachable = |error: &dyn std::error::Error| {
        // What went wrong is at the end of the chain.
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        format!("error: failed to connect service at {address:?}: {cause}")
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .and_then(|endpoint| endpoint.user_agent("kube-probe/1.36"))
        .map_err(|error| unreachable(&error))?;
    endpoint.connect().await.map_err(|error| unreachable(&error))
}

async fn ask(channel: Channel, service: &str) -> Result<(), String> {
    let failed = |error: &dyn std::error::Error| format!("error: health rpc probe failed: {error}");
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| failed(&error))?;
    let question = Request::new(Question { service: service.to_owned() });
    let codec = ProstCodec::<Question, Answer>::default();
    let answer = client.unary(question, PathAndQuery::from_static(CHECK), codec).await;
    let status = answer.map_err(|refused| explain(&refused))?.into_inner().status;
    if status == SERVING {
        return Ok(());
    }
    let name = usize::try_from(status).ok().and_then(|number| NAMES.get(number));
    let name = name.map_or_else(|| status.to_string(), |name| (*name).to_owned());
    Err(format!("service unhealthy (responded with {name:?})"))
}

fn explain(refused: &Status) -> String {
    match refused.code() {
        Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol \
             (grpc.health.v1.Health): {}",
            refused.message()
        ),
        code => format!(
            "error: health rpc probe failed: rpc error: code = {code:?} desc = {}",
            refused.message()
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic_health::{ServingStatus, server::health_reporter};

    use super::*;

    #[tokio::test]
    async fn servers_say_how_they_are() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (reporter, service) = health_reporter();
        reporter.set_service_status("well", ServingStatus::Serving).await;
        reporter.set_service_status("ill", ServingStatus::NotServing).await;
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let asking = async {
            let ask = |service: &'static str| probe(&address, service, Duration::from_secs(20));
            assert_eq!(ask("").await, Ok(()));
            assert_eq!(ask("well").await, Ok(()));
            let ill = "service unhealthy (responded with \"NOT_SERVING\")";
            assert_eq!(ask("ill").await, Err(ill.to_owned()));
            let unknown = ask("unknown").await.unwrap_err();
            let expected = "error: health rpc probe failed: rpc error: code = NotFound desc = ";
            assert!(unknown.starts_with(expected), "{unknown}");
        };
        tokio::select! { biased;
            () = asking => {}
            ended = serving => panic!("{ended:?}"),
        }
    }

    #[tokio::test]
    async fn nobody_and_strangers_are_failures() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // Who takes the connection and says nothing.
        let silent = probe(&address, "", Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(silent, "timeout: health rpc did not complete within 50ms");
        drop(listener);
        let nobody = probe(&address, "", Duration::from_secs(20)).await.unwrap_err();
        let expected = format!("error: failed to connect service at {address:?}: ");
        assert!(nobody.starts_with(&expected), "{nobody}");
    }
}
