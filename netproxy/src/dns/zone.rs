//! What the cluster's names stand for. Pure: a name and the observed state give records.
//!
//! ```text
//! SERVICE.NS.svc.DOMAIN                  A/AAAA  cluster addresses, or ready endpoints if headless
//! HOSTNAME.SERVICE.NS.svc.DOMAIN         A/AAAA  that endpoint
//! _PORT._PROTO.SERVICE.NS.svc.DOMAIN     SRV     the service, or each endpoint by its hostname
//! 10-42-1-2.NS.pod.DOMAIN                A/AAAA  what it says
//! 1.0.43.10.in-addr.arpa                 PTR     the service or endpoint with that address
//! ```
//!
//! A name with no record of the type asked for is told apart from a name that is not there: a
//! resolver goes on through its search list only for the latter.

use std::net::IpAddr;

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT},
};
use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::{Endpoint, EndpointSlice},
};
use kontiki_client::ObjectKey;

use crate::{
    observed::State,
    plan::{Protocol, cluster_addresses},
};

/// Seconds that an answer may be remembered; CoreDNS's default for cluster names.
const TTL: u32 = 5;

/// Version of the DNS specification that this follows.
const SPECIFICATION: &str = "1.1.0";

/// The names this node answers for.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: Name,
    /// Where this server is to be found.
    addresses: Vec<IpAddr>,
    /// Reverse names of these addresses are ours, others are the world's.
    ranges: Vec<IpNet>,
}

/// What a question comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These records.
    Records(Vec<Record>),
    /// The name is another's; that one has to be asked for.
    Alias(Box<Record>, Name),
    /// The name is there, but has no record of that type.
    NoData,
    /// There is no such name.
    NoSuchName,
    /// The name is none of this cluster's.
    NotOurs,
}

impl Zone {
    /// The zone of a cluster; `domain` is usually `cluster.local`.
    pub fn new(domain: &str, addresses: Vec<IpAddr>, ranges: Vec<IpNet>) -> Option<Zone> {
        let mut domain = Name::from_utf8(domain).ok()?.to_lowercase();
        domain.set_fqdn(true);
        Some(Zone { domain, addresses, ranges })
    }

    /// Answers a question.
    pub fn resolve(&self, state: &State, name: &Name, kind: RecordType) -> Outcome {
        let data = if self.domain.zone_of(name) {
            self.forward(state, name)
        } else if let Some(address) = reverse_address(name) {
            if !self.ranges.iter().any(|range| range.contains(&address)) {
                return Outcome::NotOurs;
            }
            self.reverse(state, address)
        } else {
            return Outcome::NotOurs;
        };
        let Some(data) = data else { return Outcome::NoSuchName };
        let record = |data: RData| Record::from_rdata(name.clone(), TTL, data);
        if let Some(RData::CNAME(target)) = data.first() {
            return Outcome::Alias(Box::new(record(data[0].clone())), target.0.clone());
        }
        let wanted = data.into_iter().filter(|data| data.record_type() == kind);
        let records: Vec<Record> = wanted.map(record).collect();
        if records.is_empty() { Outcome::NoData } else { Outcome::Records(records) }
    }

    /// The record that says how long an absence may be remembered.
    pub fn start_of_authority(&self) -> Record {
        let host = |label: &str| self.name(&[label, "dns"]).unwrap_or_else(|| self.domain.clone());
        let soa = SOA::new(host("ns"), host("hostmaster"), 1, 7200, 1800, 86_400, TTL);
        Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa))
    }

    /// All records at a name of the domain; none if the name does not exist.
    fn forward(&self, state: &State, name: &Name) -> Option<Vec<RData>> {
        let name = name.to_lowercase();
        let labels: Vec<String> =
            name.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        let own = labels.len() - usize::from(self.domain.num_labels());
        let labels: Vec<&str> = labels[..own].iter().map(String::as_str).collect();
        let exists = |exists: bool| exists.then(Vec::new);
        match labels[..] {
            [] => {
                let server = RData::NS(NS(self.name(&["ns", "dns"])?));
                Some(vec![self.start_of_authority().data, server])
            }
            ["svc" | "pod" | "dns"] | [_, "pod"] => exists(true),
            ["dns-version"] => Some(vec![RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()]))]),
            ["ns", "dns"] => Some(self.addresses.iter().copied().map(address_data).collect()),
            [namespace, "svc"] => exists(state.has_namespace(namespace)),
            [service, namespace, "svc"] => service_data(state, &ObjectKey::new(namespace, service)),
            [label, service, namespace, "svc"] => {
                let key = ObjectKey::new(namespace, service);
                match label.strip_prefix('_') {
                    Some(protocol) => {
                        let ports = ports(state.service(&key)?, protocol);
                        exists(ports.count() > 0)
                    }
                    None => hostname_data(state, &key, label),
                }
            }
            [port, protocol, service, namespace, "svc"] => {
                let (port, protocol) = (port.strip_prefix('_')?, protocol.strip_prefix('_')?);
                self.port_data(state, &ObjectKey::new(namespace, service), port, protocol)
            }
            [address, _, "pod"] => Some(vec![address_data(dashed_address(address)?)]),
            _ => None,
        }
    }

    fn reverse(&self, state: &State, address: IpAddr) -> Option<Vec<RData>> {
        let mut names = Vec::new();
        for key in state.services_at(address) {
            let Some(service) = state.service(key) else { continue };
            if addresses_of(service).any(|own| own == address) {
                names.extend(self.name(&[&key.name, &key.namespace, "svc"]));
            } else if is_headless(service) {
                let endpoints = ready_endpoints(state, key);
                let here = endpoints.into_iter().find(|(_, found)| *found == address);
                let label = here.map(|(endpoint, address)| hostname(&endpoint, address));
                names.extend(
                    label.and_then(|label| self.name(&[&label, &key.name, &key.namespace, "svc"])),
                );
            }
        }
        let data: Vec<RData> = names.into_iter().map(|name| RData::PTR(PTR(name))).collect();
        (!data.is_empty()).then_some(data)
    }

    fn port_data(
        &self,
        state: &State,
        key: &ObjectKey,
        port: &str,
        protocol: &str,
    ) -> Option<Vec<RData>> {
        let service = state.service(key)?;
        let named = |found: &&ServicePort| found.name.as_deref() == Some(port);
        let number = ports(service, protocol).find(named)?.port;
        let srv = |port: u16, target: Name| RData::SRV(SRV::new(0, 100, port, target));
        if !is_headless(service) {
            let target = self.name(&[&key.name, &key.namespace, "svc"])?;
            return Some(vec![srv(u16::try_from(number).ok()?, target)]);
        }
        let mut data = Vec::new();
        for slice in state.slices(key) {
            let mut slice_ports = slice.ports.iter().flatten();
            let same = slice_ports.find(|found| found.name.as_deref() == Some(port));
            let Some(number) = same.and_then(|found| u16::try_from(found.port?).ok()) else {
                continue;
            };
            for (endpoint, address) in ready_in(&slice) {
                let label = hostname(endpoint, address);
                let target = self.name(&[&label, &key.name, &key.namespace, "svc"])?;
                data.push(srv(number, target));
            }
        }
        (!data.is_empty()).then_some(data)
    }

    fn name(&self, labels: &[&str]) -> Option<Name> {
        let relative = Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?;
        relative.append_domain(&self.domain).ok()
    }
}

fn service_data(state: &State, key: &ObjectKey) -> Option<Vec<RData>> {
    let service = state.service(key)?;
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let mut target = Name::from_utf8(spec.external_name.as_deref()?).ok()?;
        target.set_fqdn(true);
        return Some(vec![RData::CNAME(CNAME(target))]);
    }
    if !is_headless(service) {
        return Some(addresses_of(service).map(address_data).collect());
    }
    let endpoints = ready_endpoints(state, key);
    let data: Vec<_> = endpoints.into_iter().map(|(_, address)| address_data(address)).collect();
    (!data.is_empty()).then_some(data)
}

fn hostname_data(state: &State, key: &ObjectKey, label: &str) -> Option<Vec<RData>> {
    state.service(key)?;
    let endpoints = ready_endpoints(state, key).into_iter();
    let same = endpoints.filter(|(endpoint, address)| hostname(endpoint, *address) == label);
    let data: Vec<_> = same.map(|(_, address)| address_data(address)).collect();
    (!data.is_empty()).then_some(data)
}

fn ports<'a>(service: &'a Service, protocol: &'a str) -> impl Iterator<Item = &'a ServicePort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.filter(move |port| {
        Protocol::parse(port.protocol.as_deref()).is_some_and(|found| found.name() == protocol)
    })
}

fn is_headless(service: &Service) -> bool {
    addresses_of(service).next().is_none()
}

fn addresses_of(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.spec.iter().flat_map(cluster_addresses)
}

fn ready_endpoints(state: &State, key: &ObjectKey) -> Vec<(Endpoint, IpAddr)> {
    let slices = state.slices(key);
    let all = slices.iter().flat_map(|slice| ready_in(slice).map(|(e, a)| (e.clone(), a)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, address)| *address);
    all.dedup_by_key(|(_, address)| *address);
    all
}

fn ready_in(slice: &EndpointSlice) -> impl Iterator<Item = (&Endpoint, IpAddr)> {
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    ready.filter_map(|endpoint| Some((endpoint, endpoint.addresses.first()?.parse().ok()?)))
}

/// The label of an endpoint: its hostname if it has one, else its address.
fn hostname(endpoint: &Endpoint, address: IpAddr) -> String {
    endpoint.hostname.clone().unwrap_or_else(|| address.to_string().replace(['.', ':'], "-"))
}

fn dashed_address(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().ok().or_else(|| label.replace('-', ":").parse().ok())
}

fn reverse_address(name: &Name) -> Option<IpAddr> {
    let range = name.to_lowercase().parse_arpa_name().ok()?;
    (range.prefix_len() == range.max_prefix_len()).then(|| range.addr())
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

#[cfg(test)]
mod tests;
