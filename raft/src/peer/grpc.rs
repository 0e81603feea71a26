//! The real network: gRPC on one lazy connection per member and kind of traffic, which comes back
//! by itself.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::{io::BufReader, net::TcpStream};
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use super::{
    MESSAGE_BYTES_MAX, READ_BYTES,
    handshake::ANYBODY,
    proto::{Frame, peer_client::PeerClient},
    tls,
    transport::{Call, Frames, Lane, Method, Outgoing, Pipe, Transport, Upload},
};
use crate::{error::Error, options::Options, types::MemberId};

/// A dead host answers nothing: give up and try again, perhaps at a new address.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A connection without a sign of life is closed after these two together.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(1);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(2);
/// Window of a stream: a batch of entries in flight.
const WINDOW_BYTES: u32 = 4 << 20;

struct Grpc {
    tls: TlsConnector,
    channels: Mutex<HashMap<(MemberId, Lane), (String, Channel)>>,
}

/// The way over the network.
pub(crate) fn grpc(options: &Options) -> Result<Arc<dyn Transport>, Error> {
    let config = tls::client(&options.tls).map_err(|error| Error::Listen {
        address: options.listen.to_string(),
        reason: error.to_string(),
    })?;
    Ok(Arc::new(Grpc { tls: TlsConnector::from(Arc::new(config)), channels: Mutex::default() }))
}

impl Grpc {
    /// A client for a call, which connects when it is used; a connection to an old address is
    /// dropped then.
    fn client(&self, call: &Call) -> Result<PeerClient<Channel>, Status> {
        let Call { address, lane, claim, .. } = call;
        let mut channels = self.channels.lock();
        if claim.to == ANYBODY {
            // Asked once: not worth keeping.
            return Ok(PeerClient::new(self.connect(address)?));
        }
        let hop = (claim.next_hop(), *lane);
        let channel = match channels.get(&hop) {
            Some((dialled, channel)) if dialled == address => channel.clone(),
            _ => {
                let channel = self.connect(address)?;
                channels.insert(hop, (address.clone(), channel.clone()));
                channel
            }
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn connect(&self, address: &str) -> Result<Channel, Status> {
        // The scheme is the transport's business: TLS is below, in the connector.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::unavailable(format!("address {address}: {error}")))?
            .connect_timeout(CONNECT_MAX)
            .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_MAX)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let (tls, address) = (self.tls.clone(), address.to_owned());
        let connector = tower::service_fn(move |_: http::Uri| {
            let (tls, address) = (tls.clone(), address.clone());
            async move {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                // Not compared with the certificate: see `tls`.
                let name = ServerName::try_from("kontiki-store").map_err(io::Error::other)?;
                Ok::<_, io::Error>(TokioIo::new(
                    tls.connect(name, BufReader::with_capacity(READ_BYTES, stream)).await?,
                ))
            }
        });
        Ok(endpoint.connect_with_connector_lazy(connector))
    }
}

fn request<T>(call: &Call, message: T) -> Request<T> {
    let mut request = Request::new(message);
    call.claim.write(request.metadata_mut());
    request
}

impl Transport for Grpc {
    fn ask(
        &self,
        call: Call,
        method: Method,
        question: Frame,
    ) -> BoxFuture<'_, Result<Frame, Status>> {
        Box::pin(async move {
            let mut client = self.client(&call)?;
            let request = request(&call, question);
            let answer = match method {
                Method::Hello => client.hello(request).await,
                Method::Append => client.append(request).await,
                Method::Vote => client.vote(request).await,
                Method::PreVote => client.pre_vote(request).await,
                Method::TransferLeader => client.transfer_leader(request).await,
                Method::Administer => client.administer(request).await,
                Method::HeldFiles => client.held_files(request).await,
                Method::Lease => client.lease(request).await,
                Method::Examine => client.examine(request).await,
            };
            answer.map(tonic::Response::into_inner)
        })
    }

    fn stream(
        &self,
        call: Call,
        what: Pipe,
        questions: Outgoing,
    ) -> BoxFuture<'_, Result<Frames, Status>> {
        Box::pin(async move {
            let mut client = self.client(&call)?;
            let request = request(&call, questions);
            let answers = match what {
                Pipe::Append => client.append_stream(request).await?,
                Pipe::Propose => client.propose(request).await?,
                Pipe::ReadIndex => client.read_index(request).await?,
            };
            Ok(answers.into_inner().boxed())
        })
    }

    fn upload(
        &self,
        call: Call,
        what: Upload,
        parts: Outgoing,
    ) -> BoxFuture<'_, Result<Frame, Status>> {
        Box::pin(async move {
            let mut client = self.client(&call)?;
            let request = request(&call, parts);
            let answer = match what {
                Upload::InstallSnapshot => client.install_snapshot(request).await,
            };
            answer.map(tonic::Response::into_inner)
        })
    }
}
