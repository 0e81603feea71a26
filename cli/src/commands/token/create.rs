//! `kontiki token create`.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use kontiki_base::pki::fingerprint;
use kontiki_base::tls::certificates;

use crate::{
    config::parse_duration,
    session::ConnectionArguments,
    token::{Role, Token},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// How long it is valid; 0s is for ever
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    ttl: Duration,
    /// Let the holder join as a server, which gets the cluster's private keys
    #[arg(long)]
    server: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let roots = certificates(&session.roots.pem).context("the kubeconfig's CA")?;
    let token = Token::generate(&fingerprint(&roots[0]));
    let role = if arguments.server { Role::Server } else { Role::Agent };
    let expiration = match arguments.ttl {
        Duration::ZERO => None,
        ttl => Some(Timestamp::now() + SignedDuration::try_from(ttl)?),
    };
    session.client.create(&token.secret(role, expiration)).await?;
    session.output.line(&token.to_string())
}
