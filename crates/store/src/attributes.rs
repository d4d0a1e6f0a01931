//! What selectors and authorization need to know of an object without parsing its bytes.

/// An object's labels and selectable fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Label keys and values.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Selectable fields and their values, such as `spec.nodeName`.
    pub fields: Box<[(&'static str, Box<str>)]>,
}

impl Attributes {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(k, _)| &**k == key);
        found.map(|(_, value)| &**value)
    }

    /// The value of a selectable field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| &**value)
    }

    pub(crate) fn signature(&self) -> Signature {
        let labels = self.labels.iter();
        Signature(labels.fold(0, |bits, (key, value)| bits | label_bit(key, value)))
    }
}

/// A 64-bit Bloom filter of an object's labels, kept beside the pointer to it: a list by label
/// passes over most objects that do not match without touching their memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signature(u64);

impl Signature {
    /// What the signature of every object with these labels contains.
    pub(crate) fn of_labels(labels: &[(&str, &str)]) -> Signature {
        let labels = labels.iter();
        Signature(labels.fold(0, |bits, (key, value)| bits | label_bit(key, value)))
    }

    pub(crate) fn contains(self, wanted: Signature) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

fn label_bit(key: &str, value: &str) -> u64 {
    // FNV-1a: short inputs, and the same bits in every process
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key.bytes().chain([b'=']).chain(value.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    1 << (hash >> 58)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Attributes {
        let labels = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        Attributes {
            labels: labels.collect(),
            fields: Box::default(),
        }
    }

    #[test]
    fn a_signature_contains_each_of_its_labels() {
        let signature = labels(&[("app", "web"), ("tier", "front"), ("x", "")]).signature();
        for pair in [("app", "web"), ("tier", "front"), ("x", "")] {
            assert!(
                signature.contains(Signature::of_labels(&[pair])),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn most_other_labels_are_not_contained() {
        let signature = labels(&[("app", "web"), ("tier", "front")]).signature();
        let others = (0..1000).map(|i| format!("web-{i}"));
        let hits = others.filter(|v| signature.contains(Signature::of_labels(&[("app", v)])));
        assert!(hits.count() < 100);
    }
}
