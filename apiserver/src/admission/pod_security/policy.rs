//! Which policy a namespace asks for, by its labels.

use std::{cmp::Ordering, fmt};

use kontiki_api::field::{Error, Errors, Path};
use serde_json::Value;

/// What a policy allows, from everything to little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// The minor version whose rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    #[default]
    Latest,
    Minor(u32),
}

impl Version {
    /// `latest` or `v1.N`, as upstream's expression has it.
    fn parse(text: &str) -> Option<Version> {
        if text == "latest" {
            return Some(Version::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let canonical = minor == "0" || !minor.starts_with('0');
        if minor.is_empty() || !canonical || !minor.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        minor.parse().ok().map(Version::Minor)
    }

    /// Whether rules that began with a minor version hold.
    pub(super) fn reaches(self, minor: u32) -> bool {
        match self {
            Version::Latest => true,
            Version::Minor(own) => own >= minor,
        }
    }
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level.name()),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level.name()),
        }
    }
}

/// What a namespace asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: LevelVersion,
    pub(super) audit: LevelVersion,
    pub(super) warn: LevelVersion,
}

/// How its labels begin.
pub(super) const LABELS: &str = "pod-security.kubernetes.io/";

impl Policy {
    /// Reads the labels of a namespace. A label that cannot be read enforces the strictest level
    /// and audits and warns of nothing, as upstream. Warnings follow enforcement if no label says
    /// how they should be.
    pub(super) fn of(namespace: &Value) -> (Policy, Errors) {
        let mut errors = Errors::new();
        let mut read = |mode: &str, strict: bool| {
            let label = |name: String| {
                namespace["metadata"]["labels"].get(&name).and_then(Value::as_str).map(|value| {
                    let path = Path::new("metadata").child("labels").key(&name);
                    (value, path)
                })
            };
            let level = label(format!("{LABELS}{mode}"));
            let version = label(format!("{LABELS}{mode}-version"));
            let mut wanted = LevelVersion::default();
            if let Some((text, path)) = &level {
                wanted.level = Level::parse(text).unwrap_or_else(|| {
                    let known = "must be one of privileged, baseline, restricted";
                    errors.push(Error::invalid(path, *text, known));
                    if strict { Level::Restricted } else { Level::Privileged }
                });
            }
            if let Some((text, path)) = &version {
                wanted.version = Version::parse(text).unwrap_or_else(|| {
                    let known = "must be \"latest\" or \"v1.x\"";
                    errors.push(Error::invalid(path, *text, known));
                    Version::Latest
                });
            }
            (wanted, level.is_some())
        };
        let (enforce, enforces) = read("enforce", true);
        let (audit, _) = read("audit", false);
        let (mut warn, warns) = read("warn", false);
        if enforces && !warns && enforce.level.cmp(&warn.level) == Ordering::Greater {
            warn = enforce;
        }
        (Policy { enforce, audit, warn }, errors)
    }
}
