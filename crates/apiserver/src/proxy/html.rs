//! Links in pages that come through the proxy: those of the backend itself are made to lead through
//! the proxy again. Which attributes hold links is as upstream's proxy transport has it
//! (`k8s.io/apimachinery/pkg/util/proxy`).

/// Attributes with links, by element.
const LINKS: [(&str, &[&str]); 25] = [
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

/// Elements whose content is text up to their end tag.
const RAW: [&str; 8] = [
    "script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes",
];

/// What leads to the backend of a proxied request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The path in front of the backend's own: `/api/v1/namespaces/n/pods/p/proxy`.
    pub prepend: String,
    /// The backend's host and port.
    pub backend: String,
    /// The host the client asked.
    pub asked: String,
}

impl Rewrite {
    /// One link, seen from outside. Links to other hosts and relative ones stay.
    pub fn link(&self, link: &str) -> String {
        let (scheme, rest) = match link.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                (scheme, Some(rest))
            }
            _ => ("", link.strip_prefix("//")),
        };
        let (host, path) = match rest {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", link),
        };
        let foreign = !host.is_empty() && host != self.backend && host != self.asked;
        if foreign || !path.starts_with('/') {
            return link.to_owned();
        }
        // A link that names the host the client itself uses keeps it.
        let front = if !host.is_empty() && host == self.asked {
            let scheme = if scheme.is_empty() {
                String::new()
            } else {
                format!("{scheme}:")
            };
            format!("{scheme}//{host}")
        } else {
            String::new()
        };
        if path.starts_with(&self.prepend) {
            return format!("{front}{path}");
        }
        let (path, query) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
        format!("{front}{}{}{query}", self.prepend, cleaned(path))
    }

    /// All links of a page.
    pub fn page(&self, page: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(page.len() + page.len() / 16);
        let mut at = 0;
        while let Some(found) = page[at..].iter().position(|b| *b == b'<') {
            out.extend_from_slice(&page[at..at + found]);
            at += found;
            if page[at..].starts_with(b"<!--") {
                let end = find(&page[at + 4..], b"-->").map_or(page.len(), |end| at + 4 + end + 3);
                out.extend_from_slice(&page[at..end]);
                at = end;
                continue;
            }
            if !page.get(at + 1).is_some_and(u8::is_ascii_alphabetic) {
                out.push(b'<');
                at += 1;
                continue;
            }
            let (end, name) = self.tag(page, at, &mut out);
            at = end;
            if RAW.contains(&name.as_str()) {
                let close = format!("</{name}");
                let end = find_text(&page[at..], close.as_bytes()).map_or(page.len(), |e| at + e);
                out.extend_from_slice(&page[at..end]);
                at = end;
            }
        }
        out.extend_from_slice(&page[at..]);
        out
    }

    /// Copies the tag at `at` with its links rewritten; gives the place behind it and its name.
    fn tag(&self, page: &[u8], at: usize, out: &mut Vec<u8>) -> (usize, String) {
        let is_end = |b: u8| b == b'>';
        let is_space = |b: u8| b.is_ascii_whitespace() || b == b'/';
        let mut i = at + 1;
        while i < page.len() && !is_space(page[i]) && !is_end(page[i]) {
            i += 1;
        }
        let name = String::from_utf8_lossy(&page[at + 1..i]).to_ascii_lowercase();
        out.extend_from_slice(&page[at..i]);
        let links = LINKS
            .iter()
            .find(|(element, _)| *element == name)
            .map_or(&[][..], |(_, links)| *links);
        while i < page.len() && !is_end(page[i]) {
            let start = i;
            while i < page.len() && is_space(page[i]) {
                i += 1;
            }
            out.extend_from_slice(&page[start..i]);
            let start = i;
            while i < page.len() && !is_space(page[i]) && !is_end(page[i]) && page[i] != b'=' {
                i += 1;
            }
            // A stray `=` is a name of its own; without this the loop would stand still.
            if i == start && i < page.len() && page[i] == b'=' {
                i += 1;
            }
            let attribute = String::from_utf8_lossy(&page[start..i]).to_ascii_lowercase();
            out.extend_from_slice(&page[start..i]);
            let start = i;
            while i < page.len() && page[i].is_ascii_whitespace() {
                i += 1;
            }
            if i >= page.len() || page[i] != b'=' {
                i = start;
                continue;
            }
            i += 1;
            while i < page.len() && page[i].is_ascii_whitespace() {
                i += 1;
            }
            out.extend_from_slice(&page[start..i]);
            let quote = page.get(i).copied().filter(|b| matches!(b, b'"' | b'\''));
            if let Some(quote) = quote {
                out.push(quote);
                i += 1;
            }
            let start = i;
            while i < page.len()
                && match quote {
                    Some(quote) => page[i] != quote,
                    None => !page[i].is_ascii_whitespace() && !is_end(page[i]),
                }
            {
                i += 1;
            }
            match std::str::from_utf8(&page[start..i]) {
                Ok(link) if links.contains(&attribute.as_str()) => {
                    out.extend_from_slice(self.link(link).as_bytes());
                }
                _ => out.extend_from_slice(&page[start..i]),
            }
            if quote.is_some() && i < page.len() {
                out.push(page[i]);
                i += 1;
            }
        }
        if i < page.len() {
            out.push(b'>');
            i += 1;
        }
        (i, name)
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn find_text(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len())
        .position(|window| window.eq_ignore_ascii_case(what))
}

/// An absolute path without `.`, `..` and empty segments; a slash at its end stays.
fn cleaned(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if path.ends_with('/') {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite() -> Rewrite {
        Rewrite {
            prepend: "/api/v1/namespaces/n/pods/p/proxy".to_owned(),
            backend: "10.0.0.1:80".to_owned(),
            asked: "localhost:8001".to_owned(),
        }
    }

    #[test]
    fn links_to_the_backend_lead_through_the_proxy() {
        let p = "/api/v1/namespaces/n/pods/p/proxy";
        for (link, expected) in [
            ("/a/b", format!("{p}/a/b")),
            ("/a/", format!("{p}/a/")),
            ("/", format!("{p}/")),
            ("/a/../b?x=/1#y", format!("{p}/b?x=/1#y")),
            ("http://10.0.0.1:80/a", format!("{p}/a")),
            ("//10.0.0.1:80/a", format!("{p}/a")),
            (
                "http://localhost:8001/a",
                format!("http://localhost:8001{p}/a"),
            ),
            ("/api/v1/namespaces/n/pods/p/proxy/a", format!("{p}/a")),
            ("a/b", "a/b".to_owned()),
            ("#here", "#here".to_owned()),
            ("mailto:a@example.com", "mailto:a@example.com".to_owned()),
            ("http://example.com/a", "http://example.com/a".to_owned()),
        ] {
            assert_eq!(rewrite().link(link), expected, "{link}");
        }
    }

    #[test]
    fn only_attributes_with_links_change() {
        let page = "<!DOCTYPE html><!-- <a href=\"/no\"> --><a title='/t' href=\"/x\">1 < 2</a>\
            <IMG SRC=/y alt=z/><p href=\"/no\"><script src='/s'>if (a < b) \"<a href='/no'>\"</script><form action>";
        let p = "/api/v1/namespaces/n/pods/p/proxy";
        let expected = format!(
            "<!DOCTYPE html><!-- <a href=\"/no\"> --><a title='/t' href=\"{p}/x\">1 < 2</a>\
            <IMG SRC={p}/y alt=z/><p href=\"/no\"><script src='{p}/s'>if (a < b) \"<a href='/no'>\"</script><form action>"
        );
        let found = String::from_utf8(rewrite().page(page.as_bytes())).unwrap();
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn pages_without_links_stay_as_they_are(page in "[<>a-z=\"' /!-]{0,200}") {
            // Nothing here has a slash at the beginning of a link.
            let page = page.replace('/', "");
            let found = rewrite().page(page.as_bytes());
            prop_assert_eq!(found, page.as_bytes());
        }

        #[test]
        fn any_bytes_are_a_page(page in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(rewrite().page(&page).len() >= page.len());
        }
    }
}
