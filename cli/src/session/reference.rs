//! How verbs name what they are about: `pods`, `pod web`, `deploy/web svc/web`, `pods,svc`.

use anyhow::{Result, bail};

use super::{Catalogue, Resource};

/// A resource, and which of its objects are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    /// One object; all that fit the selectors if `None`.
    pub(crate) name: Option<String>,
}

/// Reads the words of a command line.
pub(crate) fn targets(catalogue: &Catalogue, words: &[String]) -> Result<Vec<Target>> {
    let Some(first) = words.first() else {
        bail!(
            "you must specify the type of resource; `pods`, `deployments`, `services` or `all`, \
             for example"
        );
    };
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| slashed(catalogue, word)).collect();
    }
    let mut targets = Vec::new();
    for part in first.split(',').filter(|part| !part.is_empty()) {
        for resource in catalogue.named(part)? {
            let of = |name| Target { resource: resource.clone(), name };
            if words.len() == 1 {
                targets.push(of(None));
            }
            targets.extend(words[1..].iter().map(|name| of(Some(name.clone()))));
        }
    }
    Ok(targets)
}

fn slashed(catalogue: &Catalogue, word: &str) -> Result<Target> {
    match word.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            let resource = catalogue.named(kind)?[0].clone();
            Ok(Target { resource, name: Some(name.to_owned()) })
        }
        _ => bail!("{word:?}: with TYPE/NAME, every argument must be of that form"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::discovery::samples::catalogue;

    fn read(words: &str) -> Result<String> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let targets = targets(&catalogue(), &words)?;
        let show = |t: &Target| format!("{}/{}", t.resource.name, t.name.as_deref().unwrap_or("*"));
        Ok(targets.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn all_forms_of_kubectl_are_understood() {
        let cases = [
            ("pods", "pods/*"),
            ("po web other", "pods/web pods/other"),
            ("po,svc", "pods/* services/*"),
            ("po,svc web", "pods/web services/web"),
            ("deploy/web svc/web", "deployments/web services/web"),
        ];
        for (words, expected) in cases {
            assert_eq!(read(words).unwrap(), expected, "{words}");
        }
        for words in ["deploy/web pods", "deploy/", "deploy/a/b"] {
            assert!(read(words).is_err(), "{words}");
        }
    }
}
