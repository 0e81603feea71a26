//! Manifests: YAML or JSON, several documents in a file, several files in a folder, or stdin.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// One object as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) object: Value,
    /// Where it came from, for errors.
    pub(crate) source: String,
}

impl Manifest {
    /// `apiVersion`, which [`read`] has checked.
    pub(crate) fn api_version(&self) -> &str {
        self.object["apiVersion"].as_str().unwrap_or_default()
    }

    /// `kind`, which [`read`] has checked.
    pub(crate) fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// Empty where it leaves the name to the server.
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }
}

/// Manifests are for people: one of this size is a mistake.
const BYTES_MAX: u64 = 64 << 20;

/// Reads all manifests of the given files; `-` is stdin, a folder is its `.yaml`, `.yml` and
/// `.json` files.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Manifest>> {
    ensure!(!files.is_empty(), "must specify what to do with -f FILE; `-f -` reads stdin");
    let mut manifests = Vec::new();
    for file in files {
        if file == Path::new("-") {
            manifests.extend(parse(&read_text(std::io::stdin())?, "STDIN")?);
            continue;
        }
        for path in expand(file)? {
            let opened = std::fs::File::open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            manifests.extend(parse(&read_text(opened)?, &path.display().to_string())?);
        }
    }
    if manifests.is_empty() {
        bail!("no objects passed");
    }
    Ok(manifests)
}

fn read_text(source: impl Read) -> Result<String> {
    let mut text = String::new();
    source.take(BYTES_MAX).read_to_string(&mut text).context("cannot read the manifest")?;
    Ok(text)
}

fn expand(file: &Path) -> Result<Vec<PathBuf>> {
    if !file.is_dir() {
        ensure!(file.exists(), "the path {:?} does not exist", file.display().to_string());
        return Ok(vec![file.to_path_buf()]);
    }
    let mut paths = Vec::new();
    for entry in
        std::fs::read_dir(file).with_context(|| format!("cannot list {}", file.display()))?
    {
        let path = entry?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// All objects of a text, in order. Lists are opened.
fn parse(text: &str, source: &str) -> Result<Vec<Manifest>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .with_context(|| format!("error parsing {source}: this is no valid YAML"))?;
    let mut manifests = Vec::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        let kind = document["kind"].as_str().unwrap_or_default();
        match document["items"].as_array() {
            Some(items) if kind.ends_with("List") => {
                for item in items {
                    manifests.push(checked(item.clone(), source)?);
                }
            }
            _ => manifests.push(checked(document, source)?),
        }
    }
    Ok(manifests)
}

fn checked(object: Value, source: &str) -> Result<Manifest> {
    ensure!(object.is_object(), "error parsing {source}: a document is no object");
    for field in ["apiVersion", "kind"] {
        ensure!(
            object[field].as_str().is_some_and(|value| !value.is_empty()),
            "error validating {source}: {field} not set"
        );
    }
    Ok(Manifest { object, source: source.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_become_objects_in_order() {
        let text = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n# nothing\n---\n\
                    apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node}\n\
                    - {apiVersion: v1, kind: Pod, metadata: {name: b, namespace: shop}}\n";
        let manifests = parse(text, "x").unwrap();
        let kinds: Vec<&str> = manifests.iter().map(Manifest::kind).collect();
        assert_eq!(kinds, ["Pod", "Node", "Pod"]);
        assert_eq!(manifests[2].namespace(), Some("shop"));
        assert_eq!(manifests[0].name(), "a");
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_source() {
        let cases = [
            ("a: [1\n", "error parsing x: this is no valid YAML"),
            ("kind: Pod\n", "error validating x: apiVersion not set"),
            ("apiVersion: v1\n", "error validating x: kind not set"),
            ("- 1\n", "error parsing x: a document is no object"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, "x").unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn json_is_yaml() {
        let manifests = parse("{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"n\": 1.5}", "x");
        assert_eq!(manifests.unwrap()[0].object["n"], 1.5);
    }
}
