//! `SPDY/3.1+portforward.k8s.io`: the SPDY of port-forward, carried in WebSocket messages.
//!
//! The bytes are not looked at: what messages carry is what the kubelet hears, and what the kubelet
//! says is put into messages. The client is accepted only once the kubelet has switched, so that a
//! refusal reaches it as an ordinary answer and it can try again without WebSocket.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use kontiki_api::Status;
use tokio::time::timeout;

use super::{
    talk::{self, Outbox, Reader},
    translate::spdy_headers,
    websocket,
};
use crate::{answer::Body, core::Core, dial::Target, exchange::Exchange, upgrade};

/// The protocol.
pub const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// What is spoken inside.
const INSIDE: &str = "portforward.k8s.io";
const NORMAL: u16 = 1000;
/// How long the client may take to say goodbye.
const LINGER: Duration = Duration::from_secs(5);

/// Whether a client asks for it.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    upgrade::is_websocket(headers) && websocket::offered(headers).contains(&PROTOCOL)
}

/// Has the kubelet switch, accepts the client and carries the conversation on.
pub async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
    target: &Target,
    path: &str,
) -> Result<Response<Body>, Status> {
    let accepted = websocket::accept(&exchange.parts.headers, PROTOCOL)?;
    let client = upgrade::take(exchange)?;
    let place = core.streams.place(exchange)?;
    let mut answer = upgrade::ask(core, target, Method::POST, path, spdy_headers(INSIDE)).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(upgrade::echo(answer));
    }
    let kubelet = hyper::upgrade::on(&mut answer);
    core.streams.run(place, carry(client, kubelet));
    Ok(accepted)
}

async fn carry(client: OnUpgrade, kubelet: OnUpgrade) {
    let (client, kubelet) = match tokio::try_join!(client, kubelet) {
        Ok(both) => both,
        Err(error) => return tracing::debug!("a stream ended before it began: {error}"),
    };
    let (mut client, client_writer, client_outbox) = talk::open(client);
    let (kubelet, kubelet_writer, kubelet_outbox) = talk::open(kubelet);
    let talking = async {
        tokio::select! { biased;
            () = from_kubelet(kubelet, &client_outbox) => {}
            () = from_client(&mut client, &client_outbox, &kubelet_outbox) => {}
            () = kubelet_writer.run_while_possible() => {}
        }
        let _ = client_outbox.send(websocket::close(NORMAL)).await;
        drop(client_outbox);
        let _ = timeout(LINGER, client.drain()).await;
    };
    tokio::join!(talking, client_writer.run());
}

async fn from_client(client: &mut Reader, own: &Outbox, kubelet: &Outbox) {
    let mut decoder = websocket::Decoder::default();
    loop {
        loop {
            match decoder.next(client.buffer()) {
                Ok(Some(websocket::Event::Data { bytes, .. })) => {
                    if !bytes.is_empty() && kubelet.send(bytes).await.is_err() {
                        return;
                    }
                }
                Ok(Some(websocket::Event::Ping(payload))) => {
                    let _ = own.try_send(websocket::pong(&payload));
                }
                Ok(Some(websocket::Event::Pong)) => {}
                Ok(Some(websocket::Event::Close)) => return,
                Ok(None) => break,
                Err(error) => return tracing::debug!("a client is refused: {error}"),
            }
        }
        if !matches!(client.more().await, Ok(true)) {
            return;
        }
    }
}

async fn from_kubelet(mut kubelet: Reader, client: &Outbox) {
    while matches!(kubelet.more().await, Ok(true)) {
        let bytes: Bytes = kubelet.buffer().split().freeze();
        if client.send(websocket::message(&[&bytes])).await.is_err() {
            return;
        }
    }
}
