//! Dialling: one lazy connection per member and kind of traffic, which comes back by itself.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

use super::{
    Administration, Forwarded, MESSAGE_BYTES_MAX, frame,
    handshake::Claim,
    open,
    proto::{Frame, peer_client::PeerClient},
    tls,
};
use crate::{
    command::{Proposal, Reply},
    error::Error,
    options::Options,
    store::{Attempt, Identified, PROTOCOL_VERSION},
    types::MemberId,
};

/// A dead host answers nothing: give up and try again, perhaps at a new address.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A member that is to be added is up.
const HELLO_MAX: Duration = Duration::from_secs(2);
/// A connection without a sign of life is closed after these two together.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(1);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(2);
/// Heartbeats in a row that a member may miss before it is called lost: a second's worth.
const MISSED_MAX: u32 = 10;
/// Window of a stream: a batch of entries in flight.
const WINDOW_BYTES: u32 = 4 << 20;

/// Kinds of traffic, each with its own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Log entries and votes.
    Append,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// What callers of this member want from the leader.
    Forward,
}

/// Connections to the other members. Clones share them.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    identified: Arc<Identified>,
    tls: TlsConnector,
    addresses: Mutex<HashMap<MemberId, String>>,
    channels: Mutex<HashMap<(MemberId, Lane), (String, Channel)>>,
    /// Heartbeats in a row that a member has missed.
    missed: Mutex<HashMap<MemberId, u32>>,
}

impl Peers {
    pub(crate) fn new(identified: Arc<Identified>, options: &Options) -> Result<Peers, Error> {
        let config = tls::client(&options.tls).map_err(|error| Error::Listen {
            address: options.listen.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Peers(Arc::new(Inner {
            identified,
            tls: TlsConnector::from(Arc::new(config)),
            addresses: Mutex::default(),
            channels: Mutex::default(),
            missed: Mutex::default(),
        })))
    }

    /// Learns where members are dialled; connections to old addresses are dropped when used next.
    pub(crate) fn learn(&self, member: MemberId, address: &str) {
        let mut addresses = self.0.addresses.lock();
        if addresses.get(&member).is_none_or(|known| known != address) {
            addresses.insert(member, address.to_owned());
        }
    }

    /// Says once that a member is lost, and once that it is back.
    pub(super) fn heard(&self, member: MemberId, problem: Option<&Status>) {
        let mut missed = self.0.missed.lock();
        let missed = missed.entry(member).or_default();
        match problem {
            None => {
                if std::mem::take(missed) >= MISSED_MAX {
                    tracing::info!(%member, "the member answers again");
                }
            }
            Some(problem) => {
                *missed = missed.saturating_add(1);
                if *missed == MISSED_MAX {
                    tracing::warn!(%member, "the member does not answer: {}", problem.message());
                }
            }
        }
    }

    /// A client of a member on a lane, which connects when it is used.
    pub(super) fn client(&self, to: MemberId, lane: Lane) -> Result<PeerClient<Channel>, Status> {
        let address = self.0.addresses.lock().get(&to).cloned();
        let address = address
            .ok_or_else(|| Status::unavailable(format!("the address of {to} is not known")))?;
        let mut channels = self.0.channels.lock();
        let channel = match channels.get(&(to, lane)) {
            Some((dialled, channel)) if *dialled == address => channel.clone(),
            _ => {
                let channel = self.connect(&address)?;
                channels.insert((to, lane), (address, channel.clone()));
                channel
            }
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// A call to a member, with this member's claim.
    pub(super) fn call<T>(&self, to: MemberId, message: T) -> Result<Request<T>, Status> {
        let cluster = self.0.identified.cluster().ok_or_else(|| {
            Status::failed_precondition("this member has not been added to a cluster yet")
        })?;
        let from = self.0.identified.member;
        let claim = Claim { protocol: PROTOCOL_VERSION, cluster, from, to };
        let mut request = Request::new(message);
        claim.write(request.metadata_mut());
        Ok(request)
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
        let (tls, address) = (self.0.tls.clone(), address.to_owned());
        let connector = tower::service_fn(move |_: http::Uri| {
            let (tls, address) = (tls.clone(), address.clone());
            async move {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                // Not compared with the certificate: see `tls`.
                let name = ServerName::try_from("kontiki-store").map_err(io::Error::other)?;
                Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
            }
        });
        Ok(endpoint.connect_with_connector_lazy(connector))
    }

    /// Makes sure that a member is at its address, and may be of this cluster.
    pub(crate) async fn hello(&self, to: MemberId) -> Result<(), String> {
        self.hello_on(to, Lane::Forward).await
    }

    /// Connects to a member before it matters: an election and what follows it then wait for no
    /// handshake. That it cannot be reached is found out when it matters.
    pub(crate) async fn warm(&self, to: MemberId) {
        for lane in [Lane::Append, Lane::Forward] {
            let _ = self.hello_on(to, lane).await;
        }
    }

    async fn hello_on(&self, to: MemberId, lane: Lane) -> Result<(), String> {
        let said = async {
            let request = self.call(to, Frame::default())?;
            self.client(to, lane)?.hello(request).await
        };
        match timeout(HELLO_MAX, said).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {HELLO_MAX:?}")),
        }
    }

    /// Forwards a proposal to the leader.
    pub(crate) async fn propose(&self, to: MemberId, proposal: &Proposal) -> Attempt<Reply> {
        let asked = async {
            let request = self.call(to, frame(proposal))?;
            self.client(to, Lane::Forward)?.propose(request).await
        };
        answered(asked.await)
    }

    /// Asks the leader for a read index.
    pub(crate) async fn read_index(&self, to: MemberId) -> Attempt<u64> {
        let asked = async {
            let request = self.call(to, Frame::default())?;
            self.client(to, Lane::Forward)?.read_index(request).await
        };
        answered(asked.await)
    }

    /// Asks the leader to change the membership.
    pub(crate) async fn administer(&self, to: MemberId, what: &Administration) -> Attempt<()> {
        let asked = async {
            let request = self.call(to, frame(what))?;
            self.client(to, Lane::Forward)?.administer(request).await
        };
        answered(asked.await)
    }
}

fn answered<T: serde::de::DeserializeOwned>(
    response: Result<tonic::Response<Frame>, Status>,
) -> Attempt<T> {
    let forwarded = response.and_then(|response| open::<Forwarded<T>>(response.get_ref()));
    match forwarded {
        Ok(Forwarded::Done(answer)) => Attempt::Done(answer),
        Ok(Forwarded::Again(reason)) => Attempt::Again(reason),
        Ok(Forwarded::Refused(reason)) => Attempt::Refused(reason),
        Err(status) => Attempt::Again(status.message().to_owned()),
    }
}
