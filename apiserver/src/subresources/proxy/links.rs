//! Links in what is passed on, bent so that they lead through the proxy again. Pure.

/// What links are measured by.
#[derive(Clone, Debug)]
pub(super) struct Links {
    /// The host and port of the other side.
    pub(super) backend: String,
    /// The host that the client asked.
    pub(super) asked: String,
    /// The path up to `proxy`.
    pub(super) before: String,
}

impl Links {
    /// A link as the client has to see it: absolute paths of the same host go through here; what
    /// is relative, or leads elsewhere, stays.
    pub(super) fn bend(&self, link: &str) -> String {
        let (origin, host, rest) = parts(link);
        let elsewhere = !host.is_empty() && host != self.backend && host != self.asked;
        if elsewhere || !rest.starts_with('/') {
            return link.to_owned();
        }
        let origin = if host == self.asked { origin } else { "" };
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        if path.starts_with(&self.before) {
            return format!("{origin}{rest}");
        }
        format!("{origin}{}{rest}", self.before)
    }
}

/// `SCHEME://HOST`, the host alone, and what follows it.
fn parts(link: &str) -> (&str, &str, &str) {
    let scheme = link.find(':').filter(|end| {
        let name = &link[..*end];
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let start = scheme.map_or(0, |end| end + 1);
    let Some(host) = link[start..].strip_prefix("//") else { return ("", "", link) };
    let end = host.find(['/', '?', '#']).unwrap_or(host.len());
    (&link[..start + 2 + end], &host[..end], &host[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_through_the_proxy_again() {
        let links = Links {
            backend: "10.0.0.1:80".to_owned(),
            asked: "api:6443".to_owned(),
            before: "/api/v1/nodes/n/proxy".to_owned(),
        };
        let check = |link: &str, expected: &str| assert_eq!(links.bend(link), expected, "{link}");
        check("/a/?b=c#d", "/api/v1/nodes/n/proxy/a/?b=c#d");
        check("http://10.0.0.1:80/a", "/api/v1/nodes/n/proxy/a");
        check("//10.0.0.1:80/a", "/api/v1/nodes/n/proxy/a");
        check("https://api:6443/a", "https://api:6443/api/v1/nodes/n/proxy/a");
        check("/api/v1/nodes/n/proxy/x", "/api/v1/nodes/n/proxy/x");
        for same in ["a/b", "?x", "#y", "", "http://elsewhere/a", "mailto:a@b", "javascript:/x/"] {
            check(same, same);
        }
    }
}
