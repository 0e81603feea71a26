//! `kontiki member remove`.

use anyhow::Result;
use http::Method;

use super::One;
use crate::join::wire::MEMBERS_PATH;

pub(crate) async fn run(one: One) -> Result<()> {
    let (session, member) = one.find().await?;
    let uri = format!("{MEMBERS_PATH}/{}", member.id);
    session.client.call(Method::DELETE, &uri, None).await?;
    session.output.line(&format!("member {} ({}) removed", member.id, member.name))
}
