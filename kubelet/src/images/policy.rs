//! Image names and when to pull. Pure.

/// When to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Every time a container is made.
    Always,
    /// When the image is not there.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// The policy of a container; by default, moving tags are pulled every time.
pub fn policy(wanted: Option<&str>, image: &str) -> PullPolicy {
    match wanted {
        Some("Always") => PullPolicy::Always,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        Some("Never") => PullPolicy::Never,
        _ if is_latest(image) => PullPolicy::Always,
        _ => PullPolicy::IfNotPresent,
    }
}

fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    match tag(image) {
        None => true,
        Some(tag) => tag == "latest",
    }
}

fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map(|(_, tag)| tag)
}

/// The registry of an image.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// Whether a name can be an image's.
pub fn is_valid(image: &str) -> bool {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let digest_ok = digest.is_none_or(|digest| {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
        })
    });
    let tag_ok = tag(name).is_none_or(|tag| {
        !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    });
    let path = tag(name).map_or(name, |tag| &name[..name.len() - tag.len() - 1]);
    let mut parts = path.split('/').peekable();
    if registry(image) != "docker.io" || path.starts_with("docker.io/") {
        parts.next();
    }
    let parts_ok = parts.peek().is_some() && parts.all(is_path_part);
    digest_ok && tag_ok && parts_ok
}

fn is_path_part(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    edge(part.chars().next())
        && edge(part.chars().last())
        && part
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_moving_tags_are_pulled_always() {
        let digest = "app@sha256:0123456789abcdef0123456789abcdef";
        for (image, valid, expected) in [
            ("nginx", true, PullPolicy::Always),
            ("nginx:1.27", true, PullPolicy::IfNotPresent),
            ("nginx:latest", true, PullPolicy::Always),
            ("localhost:5000/a/b", true, PullPolicy::Always),
            ("kontiki.dev/demo-web:v1", true, PullPolicy::IfNotPresent),
            (digest, true, PullPolicy::IfNotPresent),
            ("Nginx", false, PullPolicy::Always),
            ("", false, PullPolicy::Always),
            ("a b", false, PullPolicy::Always),
            ("nginx:", false, PullPolicy::IfNotPresent),
            ("registry.io/", false, PullPolicy::Always),
        ] {
            assert_eq!(is_valid(image), valid, "{image}");
            assert_eq!(policy(None, image), expected, "{image}");
        }
        assert_eq!(policy(Some("Never"), "nginx"), PullPolicy::Never);
    }
}
