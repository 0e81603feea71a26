//! The node's own resolvers, for names that are not the cluster's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use hickory_proto::op::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// After this a resolver has missed its turn and the next is asked.
const TRY_TIME_MAX: Duration = Duration::from_secs(2);

/// The resolvers to forward to, in order.
#[derive(Clone, Debug, Default)]
pub struct Upstreams(Vec<SocketAddr>);

impl Upstreams {
    /// The name servers in a file like `/etc/resolv.conf`, but not `own`: asking oneself never
    /// ends. A file that is not there names none.
    pub fn read(path: &Path, own: &[IpAddr]) -> Upstreams {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Upstreams::parse(&text, own)
    }

    fn parse(text: &str, own: &[IpAddr]) -> Upstreams {
        let servers = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok())?
        });
        let others = servers.filter(|address| !own.contains(address));
        Upstreams(others.map(|address| SocketAddr::new(address, 53)).collect())
    }

    /// Asks one resolver after the other; gives the first answer.
    pub async fn ask(&self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        for server in &self.0 {
            let attempt = async {
                if over_tcp {
                    over_stream(*server, query).await
                } else {
                    over_datagram(*server, query).await
                }
            };
            match timeout(TRY_TIME_MAX, attempt).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!("resolver {server}: {error}"),
                Err(_) => tracing::debug!("resolver {server}: no answer in {TRY_TIME_MAX:?}"),
            }
        }
        None
    }

    /// Asks a question of our own.
    pub async fn resolve(&self, query: &Message) -> Option<Message> {
        let answer = self.ask(&query.to_vec().ok()?, false).await?;
        Message::from_vec(&answer).ok()
    }
}

async fn over_datagram(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => [0, 0, 0, 0].into(),
        SocketAddr::V6(_) => [0_u16; 8].into(),
    };
    // A socket per question: the kernel picks a random port, and drops whatever else arrives.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut answer).await?;
        if answer[..length].get(..2) == query.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn over_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, query).await?;
    read_framed(&mut stream).await
}

/// Writes one message with its length before it, as DNS over TCP has it.
pub(super) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// Reads one message with its length before it.
pub(super) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_from_resolv_conf_except_our_own() {
        let text = "# comment\nsearch example.org\nnameserver 10.43.0.10\nnameserver 192.0.2.53\n\
                    nameserver nonsense\nnameserver fd00::53\noptions ndots:5\n";
        let upstreams = Upstreams::parse(text, &[[10, 43, 0, 10].into()]);
        let expected: Vec<SocketAddr> =
            vec!["192.0.2.53:53".parse().unwrap(), "[fd00::53]:53".parse().unwrap()];
        assert_eq!(upstreams.0, expected);
    }
}
