//! The first server's two tokens, so that a newcomer needs no further command.

use std::time::Duration;

use anyhow::{Context, Result};
use kontiki_base::{backoff::Backoff, tasks::render};
use kontiki_client::Client;

use crate::{
    files,
    join::state::DataFolder,
    token::{Role, Token},
};

/// Makes the tokens that have no file yet. A token whose file is there is not made again, so that
/// a deleted Secret stays deleted.
pub(super) async fn ensure(client: &Client, folder: &DataFolder, fingerprint: &str) -> Result<()> {
    for role in [Role::Server, Role::Agent] {
        let path = folder.path.join(format!("{role}-token"));
        if files::read_if_there(&path)?.is_some() {
            continue;
        }
        let token = Token::generate(fingerprint);
        create(client, &token, role)
            .await
            .with_context(|| format!("cannot make the {role} token"))?;
        files::write_private(&path, &format!("{token}\n"))?;
    }
    Ok(())
}

/// The API may not be ready in its first moments.
async fn create(client: &Client, token: &Token, role: Role) -> Result<()> {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        match client.create(&token.secret(role, None)).await {
            Ok(_) => return Ok(()),
            // An attempt before may have been carried out after all.
            Err(error) if error.is_already_exists() => return Ok(()),
            Err(error) if error.is_transient() || error.is_not_found() => {
                tracing::debug!("the API is not ready yet: {}", render(&error));
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
