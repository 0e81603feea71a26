//! Files below variables and flags: reads them, lays one over the other, names what is wrong.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::files::read_if_there;

const DEFAULT_FILE: &str = "/etc/kontiki/config.yaml";

/// Settings from the files, overlaid by `given`, which holds variables and flags.
///
/// A file that was asked for must exist; the default one need not.
pub(crate) fn read<T: Serialize + DeserializeOwned>(file: Option<&Path>, given: &T) -> Result<T> {
    let main = file.unwrap_or(Path::new(DEFAULT_FILE));
    let mut merged = Map::new();
    match read_if_there(main)? {
        Some(text) => overlay::<T>(&mut merged, &text, main)?,
        None if file.is_some() => anyhow::bail!("there is no configuration {}", main.display()),
        None => {}
    }
    for path in drop_ins(&main.with_added_extension("d"))? {
        let text = read_if_there(&path)?.unwrap_or_default();
        overlay::<T>(&mut merged, &text, &path)?;
    }
    let flags = serde_json::to_value(given).context("cannot lay out the flags")?;
    if let Value::Object(flags) = flags {
        merged.extend(flags);
    }
    serde_json::from_value(Value::Object(merged)).context("cannot read the configuration")
}

/// Checks one file on its own, so that the error can name it, and lays it over what is below.
fn overlay<T: DeserializeOwned>(
    merged: &mut Map<String, Value>,
    text: &str,
    path: &Path,
) -> Result<()> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let wrong = || format!("in configuration {}", path.display());
    let value: Option<Map<String, Value>> = serde_saphyr::from_str(text).with_context(wrong)?;
    let value = value.unwrap_or_default();
    serde_json::from_value::<T>(Value::Object(value.clone())).with_context(wrong)?;
    merged.extend(value);
    Ok(())
}

fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerSettings;

    fn settings(yaml: &str) -> ServerSettings {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn flags_lie_over_drop_ins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.yaml");
        std::fs::write(&main, "api-port: 1\npeer-port: 2\nstore-port: 3\n").unwrap();
        let drop_in = folder.path().join("config.yaml.d");
        std::fs::create_dir(&drop_in).unwrap();
        std::fs::write(drop_in.join("10.yaml"), "peer-port: 20\nstore-port: 30\n").unwrap();
        std::fs::write(drop_in.join("20.yaml"), "# nothing here\n").unwrap();
        let merged = read(Some(&main), &settings("store-port: 300")).unwrap();
        let merged = serde_json::to_value(merged).unwrap();
        assert_eq!(merged, serde_json::json!({"api-port": 1, "peer-port": 20, "store-port": 300}));
    }

    #[test]
    fn a_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.yaml");
        assert!(read(Some(&main), &settings("{}")).is_err());
        std::fs::write(&main, "api-prot: 1\n").unwrap();
        let error = format!("{:#}", read(Some(&main), &settings("{}")).unwrap_err());
        assert!(error.contains("config.yaml: unknown field `api-prot`"), "{error}");
    }
}
