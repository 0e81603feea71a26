//! Making the kernel forget flows that lead nowhere.

use crate::{
    command::{self, Error},
    plan::{Family, Frontend},
    ruleset::Flow,
};

/// Forgets these flows. That there were none is no error.
pub async fn forget(flows: impl IntoIterator<Item = Flow>) -> Result<(), Error> {
    for flow in flows {
        let arguments = arguments(flow);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match command::run("conntrack", &words, "").await {
            Err(Error::Failed { message, .. }) if message.contains("0 flow entries") => {}
            outcome => drop(outcome?),
        }
    }
    Ok(())
}

fn arguments(flow: Flow) -> Vec<String> {
    let family = if flow.frontend.family() == Family::V4 { "ipv4" } else { "ipv6" };
    let protocol = flow.frontend.protocol().name();
    let mut words = ["-D", "-f", family, "-p", protocol].map(str::to_owned).to_vec();
    let mut push = |name: &str, value: String| words.extend([name.to_owned(), value]);
    match flow.frontend {
        Frontend::Address { address, port, .. } => {
            push("--orig-dst", address.to_string());
            push("--orig-port-dst", port.to_string());
        }
        Frontend::NodePort { port, .. } => push("--orig-port-dst", port.to_string()),
    }
    if let Some(endpoint) = flow.endpoint {
        push("--reply-src", endpoint.address.to_string());
        push("--reply-port-src", endpoint.port.to_string());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Endpoint, Protocol};

    #[test]
    fn a_flow_is_named_by_its_ends() {
        let endpoint = Some(Endpoint { address: [10, 42, 1, 2].into(), port: 5353 });
        let address =
            Frontend::Address { address: [10, 43, 0, 1].into(), protocol: Protocol::Udp, port: 53 };
        let node = Frontend::NodePort { family: Family::V6, protocol: Protocol::Udp, port: 30053 };
        let rows = [
            (
                Flow { frontend: address, endpoint },
                "-D -f ipv4 -p udp --orig-dst 10.43.0.1 --orig-port-dst 53 \
                 --reply-src 10.42.1.2 --reply-port-src 5353",
            ),
            (Flow { frontend: node, endpoint: None }, "-D -f ipv6 -p udp --orig-port-dst 30053"),
        ];
        for (flow, expected) in rows {
            assert_eq!(arguments(flow).join(" "), expected);
        }
    }
}
