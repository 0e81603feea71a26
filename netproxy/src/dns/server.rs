//! Reading questions and writing answers, over UDP and TCP.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Record, RecordType},
};
use kontiki_base::tasks::{TaskKind, Tasks};
use rand::seq::SliceRandom;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use super::{
    upstream::{Upstreams, read_framed, write_framed},
    zone::{Outcome, Zone},
};
use crate::{metrics::METRICS, observed::Observed};

/// The largest answer over UDP, whatever the client offers: what fits every path unfragmented
/// (the value that the resolver vendors agreed on in 2020).
const UDP_PAYLOAD_MAX: u16 = 1232;
/// Questions forwarded at one time; more are refused, so that their askers try again later.
const FORWARDED_MAX: usize = 512;
const CONNECTIONS_MAX: usize = 512;
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(10);

/// Answers questions. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    zone: Arc<Zone>,
    observed: Arc<Observed>,
    upstreams: Arc<Upstreams>,
    forwarding: Arc<Semaphore>,
}

impl Server {
    /// A server of `zone`.
    pub fn new(zone: Zone, observed: Arc<Observed>, upstreams: Upstreams) -> Server {
        Server {
            zone: Arc::new(zone),
            observed,
            upstreams: Arc::new(upstreams),
            forwarding: Arc::new(Semaphore::new(FORWARDED_MAX)),
        }
    }

    /// Listens at `address` and answers until the tasks are stopped.
    pub async fn listen(&self, address: SocketAddr, tasks: &Tasks) -> io::Result<()> {
        let socket = Arc::new(UdpSocket::bind(address).await?);
        let listener = TcpListener::bind(address).await?;
        let (server, group, shutdown) = (self.clone(), tasks.clone(), tasks.shutdown());
        tasks.spawn_infallible(TaskKind::vital("dns over udp"), async move {
            shutdown.run_until_cancelled(server.serve_datagrams(&socket, &group)).await;
        });
        let (server, group, shutdown) = (self.clone(), tasks.clone(), tasks.shutdown());
        tasks.spawn_infallible(TaskKind::vital("dns over tcp"), async move {
            shutdown.run_until_cancelled(server.serve_streams(&listener, &group)).await;
        });
        Ok(())
    }

    async fn serve_datagrams(&self, socket: &Arc<UdpSocket>, tasks: &Tasks) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            // An error here is an earlier answer that could not be delivered.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
            let Ok(request) = Message::from_vec(&buffer[..length]) else { continue };
            METRICS.dns_requests.with_label_values(&["udp", type_label(&request)]).inc();
            match self.decide(&request) {
                Decision::Answer(answer) => {
                    let _ = socket.send_to(&encode(&answer, udp_limit(&request)), client).await;
                }
                Decision::Ask(target) => {
                    let Ok(slot) = self.forwarding.clone().try_acquire_owned() else {
                        let refusal = respond(&request, ResponseCode::Refused);
                        let _ = socket.send_to(&encode(&refusal, 512), client).await;
                        continue;
                    };
                    let (server, socket) = (self.clone(), socket.clone());
                    let raw = buffer[..length].to_vec();
                    let shutdown = tasks.shutdown();
                    tasks.spawn_infallible(TaskKind::logged("dns forward"), async move {
                        let answer = server.forward(&request, &raw, target, false);
                        if let Some(answer) = shutdown.run_until_cancelled(answer).await {
                            let _ = socket.send_to(&answer, client).await;
                        }
                        drop(slot);
                    });
                }
            }
        }
    }

    async fn serve_streams(&self, listener: &TcpListener, tasks: &Tasks) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
            let (server, shutdown) = (self.clone(), tasks.shutdown());
            tasks.spawn_infallible(TaskKind::logged("dns connection"), async move {
                shutdown.run_until_cancelled(server.serve_stream(stream)).await;
                drop(slot);
            });
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) {
        while let Ok(Ok(raw)) = timeout(CONNECTION_IDLE_MAX, read_framed(&mut stream)).await {
            let Ok(request) = Message::from_vec(&raw) else { return };
            METRICS.dns_requests.with_label_values(&["tcp", type_label(&request)]).inc();
            let answer = match self.decide(&request) {
                Decision::Answer(answer) => encode(&answer, u16::MAX),
                Decision::Ask(target) => self.forward(&request, &raw, target, true).await,
            };
            if write_framed(&mut stream, &answer).await.is_err() {
                return;
            }
        }
    }

    /// Answers what can be answered from here.
    fn decide(&self, request: &Message) -> Decision {
        if request.metadata.message_type != MessageType::Query
            || request.metadata.op_code != OpCode::Query
        {
            return Decision::Answer(respond(request, ResponseCode::NotImp));
        }
        let [query] = &request.queries[..] else {
            return Decision::Answer(respond(request, ResponseCode::FormErr));
        };
        if query.query_class() != DNSClass::IN {
            return Decision::Answer(respond(request, ResponseCode::Refused));
        }
        let mut outcome =
            self.zone.resolve(&self.observed.read(), query.name(), query.query_type());
        let mut alias = None;
        if let Outcome::Alias(record, target) = outcome {
            let kind = query.query_type();
            if kind == RecordType::CNAME {
                outcome = Outcome::Records(vec![*record]);
            } else {
                outcome = self.zone.resolve(&self.observed.read(), &target, kind);
                // One step inside the cluster is enough; further ones would be a user's loop.
                if matches!(outcome, Outcome::Alias(..)) {
                    outcome = Outcome::NoData;
                }
                if outcome == Outcome::NotOurs {
                    let query = Query::query(target, kind);
                    return Decision::Ask(Some(Box::new(Alias { record: *record, query })));
                }
                alias = Some(*record);
            }
        }
        if outcome == Outcome::NotOurs {
            return Decision::Ask(None);
        }
        Decision::Answer(self.answer(request, alias, outcome))
    }

    fn answer(&self, request: &Message, alias: Option<Record>, outcome: Outcome) -> Message {
        let code = match outcome {
            Outcome::NoSuchName => ResponseCode::NXDomain,
            _ => ResponseCode::NoError,
        };
        let mut answer = respond(request, code);
        answer.metadata.authoritative = true;
        answer.add_answers(alias);
        if let Outcome::Records(mut records) = outcome {
            // Clients take the first address they see.
            records.shuffle(&mut rand::rng());
            answer.add_answers(records);
        } else {
            answer.add_authority(self.zone.start_of_authority());
        }
        answer
    }

    /// Has a question answered by the node's resolvers: the client's own, or the one that an alias
    /// of ours leads to.
    async fn forward(
        &self,
        request: &Message,
        raw: &[u8],
        target: Option<Box<Alias>>,
        over_tcp: bool,
    ) -> Vec<u8> {
        let limit = if over_tcp { u16::MAX } else { udp_limit(request) };
        let failed = || encode(&respond(request, ResponseCode::ServFail), limit);
        let Some(alias) = target else {
            return self.upstreams.ask(raw, over_tcp).await.unwrap_or_else(failed);
        };
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(alias.query);
        let Some(found) = self.upstreams.resolve(&question).await else { return failed() };
        let mut answer = respond(request, found.metadata.response_code);
        answer.add_answer(alias.record);
        answer.add_answers(found.answers);
        encode(&answer, limit)
    }
}

/// A name of ours that stands for another's, and the question that this makes.
struct Alias {
    record: Record,
    query: Query,
}

enum Decision {
    Answer(Message),
    /// The resolvers must be asked: the same, or what this alias stands for.
    Ask(Option<Box<Alias>>),
}

fn respond(request: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD_MAX);
        response.set_edns(edns);
    }
    response
}

fn udp_limit(request: &Message) -> u16 {
    match &request.edns {
        Some(edns) => edns.max_payload().clamp(512, UDP_PAYLOAD_MAX),
        None => 512,
    }
}

/// The bytes of an answer, cut short and marked so if they exceed what the client can take.
fn encode(answer: &Message, limit: u16) -> Vec<u8> {
    let code = answer.metadata.response_code;
    METRICS.dns_responses.with_label_values(&[code_label(code)]).inc();
    let whole = answer.to_vec().unwrap_or_default();
    if whole.len() <= usize::from(limit) {
        return whole;
    }
    answer.truncate().to_vec().unwrap_or_default()
}

fn type_label(request: &Message) -> &'static str {
    match request.queries.first().map(Query::query_type) {
        Some(RecordType::A) => "A",
        Some(RecordType::AAAA) => "AAAA",
        Some(RecordType::PTR) => "PTR",
        Some(RecordType::SRV) => "SRV",
        _ => "other",
    }
}

fn code_label(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::ServFail => "SERVFAIL",
        _ => "other",
    }
}
