//! What a value is filed under, and the number every change of the store gets.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// One point in the store's history. Every committed change has its own, larger than all before;
/// `resourceVersion` is its decimal form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a store into which nothing was ever written. Not 0, because clients give
    /// `resourceVersion=0` a meaning of its own.
    pub const FIRST: Revision = Revision(1);
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a value is filed: `/<group>/<plural>/<namespace or ->/<name>`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The longest key in bytes; group, plural, namespace and name of any valid object fit.
    pub const MAX_LEN: usize = 1024;

    /// A key from its whole text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Key(text.into())
    }

    /// The key of an object; `namespace` is `None` for cluster-scoped ones.
    pub fn of(group: &str, plural: &str, namespace: Option<&str>, name: &str) -> Self {
        let namespace = namespace.unwrap_or("-");
        let mut text =
            String::with_capacity(group.len() + plural.len() + namespace.len() + name.len() + 4);
        for part in [group, plural, namespace, name] {
            text.push('/');
            text.push_str(part);
        }
        Key(text.into())
    }

    /// The prefix that every key of a resource has: `/<group>/<plural>/`.
    pub fn prefix_of(group: &str, plural: &str) -> String {
        format!("/{group}/{plural}/")
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource's part, through its closing slash; the whole text where it has fewer slashes.
    pub fn prefix(&self) -> &str {
        match self.0.match_indices('/').nth(2) {
            Some((at, _)) => &self.0[..=at],
            None => &self.0,
        }
    }

    /// The namespace; `None` for a cluster-scoped object.
    pub fn namespace(&self) -> Option<&str> {
        match self.rest().split_once('/') {
            Some(("-", _)) | None => None,
            Some((namespace, _)) => Some(namespace),
        }
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        let rest = self.rest();
        rest.split_once('/').map_or(rest, |(_, name)| name)
    }

    fn rest(&self) -> &str {
        &self.0[self.prefix().len()..]
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The least text above every text that starts with `prefix`, which ends in a slash.
pub(crate) fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    end.pop();
    // '0' follows '/' in ASCII
    end.push('0');
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_back_its_parts() {
        let cases = [
            (
                Key::of("", "pods", Some("default"), "web"),
                "//pods/",
                Some("default"),
                "web",
            ),
            (
                Key::of("apps", "deployments", Some("a"), "b"),
                "/apps/deployments/",
                Some("a"),
                "b",
            ),
            (Key::of("", "nodes", None, "n1"), "//nodes/", None, "n1"),
        ];
        for (key, prefix, namespace, name) in cases {
            assert_eq!(key.prefix(), prefix);
            assert_eq!(key.namespace(), namespace);
            assert_eq!(key.name(), name);
        }
        assert_eq!(Key::of("", "nodes", None, "n1").as_str(), "//nodes/-/n1");
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys_and_below_the_next() {
        let end = prefix_end("//pods/");
        assert!("//pods/\u{10ffff}/x" < end.as_str());
        assert!(end.as_str() < "//pods0x");
        assert!("//podtemplates/" > end.as_str());
    }
}
