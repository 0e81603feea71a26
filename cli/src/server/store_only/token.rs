//! The token of a store's members. A whole cluster keeps its tokens among its objects; a store has
//! none of its own, so its one token follows from the secrets that all members share. It lives as
//! long as they do.

use anyhow::Result;
use kontiki_base::pki::fingerprint;

use crate::{pki::Secrets, token::Token};

/// The token, the same on every member.
pub(super) fn derive(secrets: &Secrets) -> Result<Token> {
    let seed = format!("kontiki store member\n{}", secrets.service_account_key);
    Ok(Token::derived(&secrets.fingerprint()?, &fingerprint(seed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_members_of_a_store_derive_the_same_token() {
        let (ours, theirs) = (Secrets::generate().unwrap(), Secrets::generate().unwrap());
        let token = derive(&ours).unwrap();
        assert_eq!(derive(&ours).unwrap(), token);
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_ne!(derive(&theirs).unwrap().bearer(), token.bearer());
    }
}
