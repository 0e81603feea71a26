//! The cluster's private keys, closed with a passphrase: how they lie in a backup.
//!
//! Argon2id makes the passphrase expensive to guess, ChaCha20-Poly1305 closes the box. How it was
//! done stands beside it, so that it can be made more expensive one day.

use std::{num::NonZeroU32, path::PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::pki::Secrets;

const FORMAT: u32 = 1;
/// What opening costs whoever guesses: 64 MiB, three times over, on one thread.
const MEMORY_KIB: NonZeroU32 = NonZeroU32::new(64 << 10).expect("not 0");
const PASSES: NonZeroU32 = NonZeroU32::new(3).expect("not 0");
/// A box that asks for more than this is not ours.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const SALT_BYTES: usize = 16;
const PASSPHRASE_CHARACTERS_MIN: usize = 8;
/// Says what the box is for: it opens as nothing else.
const PURPOSE: &[u8] = b"kontiki cluster secrets 1";

/// Where a passphrase comes from. Never from a flag: those are seen by everyone on the host.
#[derive(Args, Clone, Debug)]
pub(crate) struct PassphraseArguments {
    /// File with the passphrase for the cluster's keys in the backup
    #[arg(long, env = "KONTIKI_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArguments {
    /// The passphrase, if there is one: the first line of the file.
    pub(crate) fn read(&self) -> Result<Option<String>> {
        let Some(path) = &self.passphrase_file else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let passphrase = text.lines().next().unwrap_or_default().trim().to_owned();
        ensure!(
            passphrase.chars().count() >= PASSPHRASE_CHARACTERS_MIN,
            "the passphrase in {} has fewer than {PASSPHRASE_CHARACTERS_MIN} characters",
            path.display()
        );
        Ok(Some(passphrase))
    }
}

/// A closed box.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sealed {
    format: u32,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    contents: String,
}

/// Closes the secrets with a passphrase.
pub(crate) fn seal(secrets: &Secrets, passphrase: &str) -> Result<Vec<u8>> {
    let (salt, nonce): ([u8; SALT_BYTES], [u8; NONCE_LEN]) = (rand::random(), rand::random());
    let (memory_kib, passes) = (MEMORY_KIB.get(), PASSES.get());
    let mut contents = serde_json::to_vec(secrets).context("cannot write the keys")?;
    key(passphrase, &salt, memory_kib, passes)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(PURPOSE),
            &mut contents,
        )
        .map_err(|_| anyhow!("cannot encrypt the keys"))?;
    let sealed = Sealed {
        format: FORMAT,
        memory_kib,
        passes,
        salt: STANDARD.encode(salt),
        nonce: STANDARD.encode(nonce),
        contents: STANDARD.encode(contents),
    };
    serde_json::to_vec_pretty(&sealed).context("cannot write the keys")
}

/// Opens what [`seal`] closed.
pub(crate) fn open(sealed: &[u8], passphrase: &str) -> Result<Secrets> {
    let sealed: Sealed =
        serde_json::from_slice(sealed).context("the keys in the backup are damaged")?;
    if sealed.format != FORMAT {
        bail!("the keys are closed in a way that this release does not know ({})", sealed.format);
    }
    ensure!(
        sealed.memory_kib <= MEMORY_KIB_MAX && sealed.passes <= PASSES_MAX,
        "the keys in the backup are damaged: opening them would cost too much"
    );
    let bytes = |text: &str| STANDARD.decode(text).context("the keys in the backup are damaged");
    let nonce = Nonce::try_assume_unique_for_key(&bytes(&sealed.nonce)?)
        .map_err(|_| anyhow!("the keys in the backup are damaged"))?;
    let mut contents = bytes(&sealed.contents)?;
    let opened = key(passphrase, &bytes(&sealed.salt)?, sealed.memory_kib, sealed.passes)?
        .open_in_place(nonce, Aad::from(PURPOSE), &mut contents)
        .map_err(|_| anyhow!("the passphrase does not open the keys in the backup"))?;
    serde_json::from_slice(opened).context("the keys in the backup make no sense")
}

fn key(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<LessSafeKey> {
    let mut key = [0; 32];
    let params = Params::new(memory_kib, passes, 1, Some(key.len()))
        .map_err(|error| anyhow!("the keys in the backup are damaged: {error}"))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .map_err(|error| anyhow!("cannot derive a key from the passphrase: {error}"))?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| anyhow!("no valid key"))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_opens_the_box() {
        let secrets = Secrets::generate().unwrap();
        let sealed = seal(&secrets, "correct horse").unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("PRIVATE KEY"));
        let opened = open(&sealed, "correct horse").unwrap();
        assert_eq!(opened.fingerprint().unwrap(), secrets.fingerprint().unwrap());
        let wrong = open(&sealed, "correct house").err().unwrap().to_string();
        assert_eq!(wrong, "the passphrase does not open the keys in the backup");
        let text = String::from_utf8(sealed).unwrap();
        let greedy = text.replace("\"passes\": 3", "\"passes\": 4000000000");
        assert!(open(greedy.as_bytes(), "correct horse").is_err());
    }
}
