//! `kontiki member promote`.

use anyhow::Result;
use http::Method;

use super::One;
use crate::join::wire::MEMBERS_PATH;

pub(crate) async fn run(one: One) -> Result<()> {
    let (session, member) = one.find().await?;
    let uri = format!("{MEMBERS_PATH}/{}/promote", member.id);
    session.client.call(Method::POST, &uri, None).await?;
    session.output.line(&format!("member {} ({}) votes", member.id, member.name))
}
