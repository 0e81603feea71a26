//! HTML on its way through: the links in its tags are bent, all else stays byte for byte.
//!
//! The page is not collected. What is held back is an unfinished tag, and of a tag that does not
//! end in [`TAG_BYTES_MAX`] no more than that: it is passed on as it is.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{GzDecoder, GzEncoder};

use super::links::Links;

/// The longest tag whose links are bent.
const TAG_BYTES_MAX: usize = 64 << 10;
/// Compressed bytes taken at once, so that little becomes no more than some megabytes.
const COMPRESSED_BYTES_MAX: usize = 4 << 10;

/// Elements whose content is text up to their end tag.
const RAW: [&str; 9] = [
    "iframe",
    "noembed",
    "noframes",
    "noscript",
    "plaintext",
    "script",
    "style",
    "textarea",
    "xmp",
];

/// The attributes of each element that hold a URL, as upstream has them.
const URLS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Bends the links of one page.
pub(super) struct Rewriter {
    scanner: Scanner,
    gzip: Option<Gzip>,
}

/// Both ends of a compressed page.
type Gzip = (GzDecoder<Vec<u8>>, GzEncoder<Vec<u8>>);

impl Rewriter {
    /// A rewriter of what is encoded like this; `None` if we do not know how to read it.
    pub(super) fn new(encoding: &str, links: Links) -> Option<Rewriter> {
        let gzip = match encoding {
            "" => None,
            "gzip" => {
                let encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                Some((GzDecoder::new(Vec::new()), encoder))
            }
            _ => return None,
        };
        Some(Rewriter { scanner: Scanner { links, pending: Vec::new(), raw: None }, gzip })
    }

    /// Takes a piece of the page; answers with what can be passed on.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        let mut out = Vec::new();
        let Some((decoder, encoder)) = &mut self.gzip else {
            self.scanner.feed(bytes, &mut out);
            return Ok(out.into());
        };
        for part in bytes.chunks(COMPRESSED_BYTES_MAX) {
            decoder.write_all(part)?;
            decoder.flush()?;
            let plain = std::mem::take(decoder.get_mut());
            self.scanner.feed(&plain, &mut out);
            encoder.write_all(&out)?;
            out.clear();
        }
        Ok(std::mem::take(encoder.get_mut()).into())
    }

    /// The rest of the page.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        let mut out = Vec::new();
        if let Some((decoder, encoder)) = &mut self.gzip {
            decoder.try_finish()?;
            let plain = std::mem::take(decoder.get_mut());
            self.scanner.feed(&plain, &mut out);
            out.append(&mut self.scanner.pending);
            encoder.write_all(&out)?;
            encoder.try_finish()?;
            return Ok(std::mem::take(encoder.get_mut()).into());
        }
        out.append(&mut self.scanner.pending);
        Ok(out.into())
    }
}

struct Scanner {
    links: Links,
    pending: Vec<u8>,
    /// What ends the text that we are in.
    raw: Option<String>,
}

impl Scanner {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some(taken) = self.step(rest, out) {
            rest = &rest[taken..];
        }
        self.pending = rest.to_vec();
    }

    /// Passes on what can be decided; answers with how much that was, `None` needs more.
    fn step(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        if rest.is_empty() {
            return None;
        }
        if let Some(end) = &self.raw {
            let found = find(rest, end);
            // The terminator may have begun in what is there.
            let taken = found.unwrap_or_else(|| (rest.len() + 1).saturating_sub(end.len()));
            out.extend_from_slice(&rest[..taken]);
            if found.is_some() {
                self.raw = None;
            }
            return (taken > 0 || found.is_some()).then_some(taken);
        }
        let open = rest.iter().position(|byte| *byte == b'<').unwrap_or(rest.len());
        if open > 0 {
            out.extend_from_slice(&rest[..open]);
            return Some(open);
        }
        if rest.starts_with(b"<!--") {
            self.raw = Some("-->".to_owned());
            out.extend_from_slice(b"<!--");
            return Some(4);
        }
        let Some(length) = tag_length(rest) else {
            if rest.len() <= TAG_BYTES_MAX {
                return None;
            }
            out.extend_from_slice(rest);
            return Some(rest.len());
        };
        self.tag(&rest[..length], out);
        Some(length)
    }

    fn tag(&mut self, tag: &[u8], out: &mut Vec<u8>) {
        let Ok(text) = std::str::from_utf8(tag) else { return out.extend_from_slice(tag) };
        let name_end = text[1..].find(|c: char| c.is_ascii_whitespace() || "/>".contains(c));
        let name_end = 1 + name_end.unwrap_or(text.len() - 1);
        let name = text[1..name_end].to_ascii_lowercase();
        if RAW.contains(&name.as_str()) {
            self.raw = Some(format!("</{name}"));
        }
        let Ok(found) = URLS.binary_search_by(|(known, _)| (*known).cmp(&name)) else {
            return out.extend_from_slice(tag);
        };
        out.extend_from_slice(&tag[..name_end]);
        self.attributes(&text[name_end..], URLS[found].1, out);
    }

    fn attributes(&self, mut text: &str, wanted: &[&str], out: &mut Vec<u8>) {
        while let Some(at) = text.find('=') {
            let before = &text[..at];
            let name =
                before.trim_end().rsplit(|c: char| c.is_ascii_whitespace() || c == '/').next();
            let name = name.unwrap_or_default().to_ascii_lowercase();
            let value = text[at + 1..].trim_start();
            let start = text.len() - value.len();
            let (inner, end) = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let length = value[1..].find(quote).unwrap_or(value.len() - 1);
                    (start + 1..start + 1 + length, (start + 2 + length).min(text.len()))
                }
                _ => {
                    let stop = |c: char| c.is_ascii_whitespace() || c == '>';
                    let length = value.find(stop).unwrap_or(value.len());
                    (start..start + length, start + length)
                }
            };
            let old = text[inner].replace("&amp;", "&");
            let new = self.links.bend(&old);
            if wanted.contains(&name.as_str()) && new != old {
                let escaped = new.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;");
                out.extend_from_slice(format!("{}\"{escaped}\"", &text[..start]).as_bytes());
            } else {
                out.extend_from_slice(&text.as_bytes()[..end]);
            }
            text = &text[end..];
        }
        out.extend_from_slice(text.as_bytes());
    }
}

/// The length of the tag that begins here, if it has ended.
fn tag_length(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Where a text begins, whatever its case.
fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn links() -> Links {
        Links { backend: "b:1".to_owned(), asked: "api".to_owned(), before: "/p".to_owned() }
    }

    fn check(page: &str, expected: &str) {
        for step in [1, 3, page.len()] {
            let mut rewriter = Rewriter::new("", links()).unwrap();
            let mut out = Vec::new();
            for part in page.as_bytes().chunks(step) {
                out.extend(rewriter.feed(part).unwrap());
            }
            out.extend(rewriter.finish().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "in steps of {step}");
        }
    }

    #[test]
    fn links_are_bent_and_all_else_stays() {
        check(
            r#"<!doctype html><A class=x HREF="/a?b&amp;c">/a</A><img src='/i' alt="a>b=/c"/>"#,
            r#"<!doctype html><A class=x HREF="/p/a?b&amp;c">/a</A><img src="/p/i" alt="a>b=/c"/>"#,
        );
        check("<form action=/go><a href = /x>", "<form action=\"/p/go\"><a href = \"/p/x\">");
        for same in [
            "<!-- <a href=\"/a\"> --><p>1 < 2</p>",
            "<script>'<a href=\"/a\">'</script><a href=\"rel\">",
            "<style>a{}</STYLE><div src=\"/a\"></div>",
            "<a href=\"http://else/\">",
            "an unfinished <a href=\"/x",
        ] {
            check(same, same);
        }
        check(
            "<script src=\"/s\"></script><a href=\"/a\">",
            "<script src=\"/p/s\"></script><a href=\"/p/a\">",
        );
    }

    #[test]
    fn compressed_pages_are_read_too() {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"<a href=\"/a\">").unwrap();
        let page = encoder.finish().unwrap();
        let mut rewriter = Rewriter::new("gzip", links()).unwrap();
        let mut out = rewriter.feed(&page).unwrap().to_vec();
        out.extend(rewriter.finish().unwrap());
        let mut text = String::new();
        flate2::read::GzDecoder::new(out.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "<a href=\"/p/a\">");
        assert!(Rewriter::new("br", links()).is_none());
    }

    #[test]
    fn a_tag_without_end_is_passed_on() {
        let mut rewriter = Rewriter::new("", links()).unwrap();
        let mut passed = rewriter.feed(b"<a href=\"").unwrap().len();
        for _ in 0..20 {
            passed += rewriter.feed(&[b'x'; 8 << 10]).unwrap().len();
        }
        assert!(passed > 20 * (8 << 10) - TAG_BYTES_MAX - (8 << 10));
    }

    #[test]
    fn the_table_can_be_searched() {
        assert!(URLS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
