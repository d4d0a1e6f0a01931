//! The query string.

use super::info::percent_decode;

/// Decoded parameters in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Parameters beyond this many are dropped.
const MAX_PAIRS: usize = 1000;

impl Query {
    /// Decodes `a=b&c=d`.
    pub fn parse(text: &str) -> Query {
        if text.is_empty() {
            return Query::default();
        }
        let decode = |part: &str| {
            if part.contains('+') {
                percent_decode(&part.replace('+', " "))
            } else {
                percent_decode(part)
            }
        };
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .take(MAX_PAIRS)
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            })
            .collect();
        Query { pairs }
    }

    /// Of these parameters.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Query {
        Query { pairs }
    }

    /// The first value of `key`; none where absent or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    /// All values of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// All parameters.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// A boolean, as upstream converts query parameters: present without value, or with any value but
    /// `false` and `0`, is true.
    pub fn flag(&self, key: &str) -> bool {
        self.pairs
            .iter()
            .find(|(k, _)| k == key)
            .is_some_and(|(_, v)| !matches!(v.as_str(), "false" | "0"))
    }

    /// `flag`, none where absent.
    pub fn optional_flag(&self, key: &str) -> Option<bool> {
        self.pairs
            .iter()
            .any(|(k, _)| k == key)
            .then(|| self.flag(key))
    }
}
