//! Users by fixed tokens, from a file: `token,user,uid[,"group1,group2"]` per line, as upstream's
//! `--token-auth-file`. The file is read once, at the start.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::user::UserInfo;

/// The users of a token file. Tokens are kept as digests, so that looking one up tells nothing of
/// the others by its duration.
#[derive(Clone, Default)]
pub struct StaticTokens {
    users: HashMap<[u8; 32], UserInfo>,
}

impl StaticTokens {
    /// Reads the text of a token file.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn parse(text: &str) -> Result<StaticTokens, String> {
        let mut users = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields =
                fields(line).ok_or(format!("line {}: a quote is left open", number + 1))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else {
                return Err(format!(
                    "line {}: token file must have at least 3 columns (token, user name, user \
                     uid), found {}",
                    number + 1,
                    fields.len()
                ));
            };
            if token.is_empty() {
                tracing::warn!("line {} of the token file has no token", number + 1);
                continue;
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
            let user = UserInfo {
                name: name.clone(),
                uid: uid.clone(),
                groups: groups.map(str::to_owned).collect(),
                ..UserInfo::default()
            };
            if users.insert(digest(token), user).is_some() {
                tracing::warn!("line {} repeats a token of the token file", number + 1);
            }
        }
        Ok(StaticTokens { users })
    }

    /// Whose token it is.
    pub fn user_of(&self, token: &str) -> Option<UserInfo> {
        if self.users.is_empty() { None } else { self.users.get(&digest(token)).cloned() }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The fields of a line of comma-separated values; `None` if a quote is left open.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            letter => field.push(letter),
        }
    }
    fields.push(field.trim().to_owned());
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_user_and_groups() {
        let text = "# comment\nsecret,jane,u1,\"dev,ops\"\n\nplain,joe,u2\n";
        let tokens = StaticTokens::parse(text).unwrap();
        let jane = tokens.user_of("secret").unwrap();
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "u1"));
        assert_eq!(jane.groups, ["dev", "ops"]);
        assert_eq!(tokens.user_of("plain").unwrap().groups, [] as [&str; 0]);
        assert!(tokens.user_of("other").is_none());
        let error = StaticTokens::parse("a,b").err().unwrap();
        assert!(error.contains("at least 3 columns"), "{error}");
    }
}
