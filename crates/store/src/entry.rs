//! Objects as bytes: what a writer hands in, and what the cache holds once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::key::{Key, Revision};

const RV_HEAD: &[u8] = br#""resourceVersion":""#;
const RV_TAIL: &[u8] = br#"","#;

/// An object as a writer hands it to the store, which alone knows the revision it will get.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The object's JSON without `metadata.resourceVersion`.
    pub bytes: Bytes,
    /// Where in `bytes` the text `"resourceVersion":"N",` goes; `u32::MAX` for nowhere.
    pub rv_at: u32,
    /// Where the parts of its metadata lie, if the writer noted it.
    pub marks: Option<Marks>,
    /// What selectors need to know of it.
    pub attributes: Attributes,
    /// How long the object lives when nobody writes it again; `None` for ever. It is deleted
    /// some time after that (a minute at most while the store runs), with a watch event.
    pub ttl: Option<Duration>,
}

impl Stored {
    /// `rv_at` of an object that shows no revision.
    pub const NO_RV: u32 = u32::MAX;

    /// An object that does not expire.
    pub fn new(bytes: Bytes, rv_at: u32, attributes: Attributes) -> Self {
        Stored {
            bytes,
            rv_at,
            marks: None,
            attributes,
            ttl: None,
        }
    }
}

/// Places in [`Stored::bytes`], so that parts of the object can be sent without looking for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// From where to where `"managedFields":[…],` stands in the metadata, with its comma; empty where
    /// it has none.
    pub managers: (u32, u32),
    /// Behind the metadata's last bracket.
    pub metadata_end: u32,
}

/// One version of an object, shared by everything that reads it.
#[derive(Debug)]
pub struct Entry {
    /// Where it is filed.
    pub key: Key,
    /// The revision of this version; for the entry of a deletion that of the deletion.
    pub revision: Revision,
    /// The revision at which the object was created.
    pub created: Revision,
    /// The object's JSON, with `metadata.resourceVersion`.
    pub json: Bytes,
    /// What selectors need to know of it.
    pub attributes: Attributes,
    /// The object in protobuf; filled by whoever first needs it.
    pub protobuf: OnceLock<Bytes>,
    rv_at: u32,
    marks: Option<Marks>,
}

impl Entry {
    /// Of an object's bytes without revision, and where that goes; see [`Stored::rv_at`].
    pub(crate) fn new(
        key: Key,
        revision: Revision,
        created: Revision,
        (bytes, rv_at): (&[u8], u32),
        attributes: Attributes,
    ) -> Self {
        let (json, rv_at) = match usize::try_from(rv_at) {
            Ok(at) if rv_at != Stored::NO_RV && at <= bytes.len() => {
                let (head, tail) = bytes.split_at(at);
                (splice(head, tail, revision), rv_at)
            }
            _ => (bytes.to_vec(), Stored::NO_RV),
        };
        Entry {
            key,
            revision,
            created,
            json: json.into(),
            attributes,
            protobuf: OnceLock::new(),
            rv_at,
            marks: None,
        }
    }

    /// Of what a writer handed in.
    pub(crate) fn of(key: Key, revision: Revision, created: Revision, stored: &Stored) -> Self {
        let attributes = stored.attributes.clone();
        let bytes = (&stored.bytes[..], stored.rv_at);
        let mut entry = Entry::new(key, revision, created, bytes, attributes);
        entry.marks = stored.marks.filter(|_| entry.rv_at != Stored::NO_RV);
        entry
    }

    /// The same object showing another revision: what a watcher is sent when the object was
    /// deleted, or left its selection, at that revision.
    pub fn at(&self, revision: Revision) -> Entry {
        let (head, tail) = self.without_rv();
        let json = match tail {
            Some(tail) => splice(head, tail, revision),
            None => head.to_vec(),
        };
        Entry {
            key: self.key.clone(),
            revision,
            created: self.created,
            json: json.into(),
            attributes: self.attributes.clone(),
            protobuf: OnceLock::new(),
            rv_at: self.rv_at,
            marks: self.marks,
        }
    }

    /// The object's `metadata` as it stands in `json`, where its place is known.
    pub fn metadata(&self) -> Option<&[u8]> {
        let from = usize::try_from(self.rv_at).ok()?.checked_sub(1)?;
        let rest = self.json.get(from..)?;
        let len = match self.marks {
            Some(marks) => self.shifted(marks.metadata_end).checked_sub(from)?,
            None => map_len(rest)?,
        };
        rest.get(..len)
    }

    /// What stands in `json` before and after `managedFields`, where that is known.
    pub fn without_managers(&self) -> Option<(&[u8], &[u8])> {
        let (from, to) = self.marks?.managers;
        let (from, to) = (self.shifted(from), self.shifted(to));
        Some((self.json.get(..from)?, self.json.get(to..)?))
    }

    /// [`Entry::without_managers`] of the metadata alone.
    pub fn metadata_without_managers(&self) -> Option<(&[u8], &[u8])> {
        let (head, tail) = self.without_managers()?;
        let end = self.shifted(self.marks?.metadata_end);
        let len = end.checked_sub(self.json.len() - tail.len())?;
        Some((head.get(self.rv_at as usize - 1..)?, tail.get(..len)?))
    }

    /// Where a place behind the revision's lies in `json`.
    fn shifted(&self, place: u32) -> usize {
        place as usize + RV_HEAD.len() + digits(self.revision) + RV_TAIL.len()
    }

    /// The object's JSON around the place where its resourceVersion stands.
    fn without_rv(&self) -> (&[u8], Option<&[u8]>) {
        if self.rv_at == Stored::NO_RV {
            return (&self.json, None);
        }
        let at = self.rv_at as usize;
        let text = RV_HEAD.len() + digits(self.revision) + RV_TAIL.len();
        (&self.json[..at], Some(&self.json[at + text..]))
    }

    /// About how much memory this version takes.
    pub(crate) fn weight(&self) -> usize {
        let labels = self
            .attributes
            .labels
            .iter()
            .map(|(k, v)| k.len() + v.len() + 32);
        let fields = self.attributes.fields.iter().map(|(_, v)| v.len() + 32);
        let text = self.json.len() + self.key.as_str().len();
        text + labels.chain(fields).sum::<usize>() + size_of::<Arc<Entry>>() + size_of::<Entry>()
    }
}

/// How long the JSON map is that `json` begins with; `None` where there is none.
fn map_len(json: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (*byte == b'}').then_some(at + 1);
        }
    }
    None
}

fn digits(revision: Revision) -> usize {
    revision.0.checked_ilog10().unwrap_or(0) as usize + 1
}

fn splice(head: &[u8], tail: &[u8], revision: Revision) -> Vec<u8> {
    let len = head.len() + RV_HEAD.len() + digits(revision) + RV_TAIL.len() + tail.len();
    // Exactly as large as needed: most of the cache's memory is these
    let mut json = Vec::with_capacity(len);
    json.extend_from_slice(head);
    json.extend_from_slice(RV_HEAD);
    let mut text = [0u8; 20];
    let mut at = text.len();
    let mut number = revision.0;
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    json.extend_from_slice(&text[at..]);
    json.extend_from_slice(RV_TAIL);
    json.extend_from_slice(tail);
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: &str, rv_at: u32, revision: u64) -> Entry {
        let key = Key::of("", "pods", Some("a"), "b");
        let revision = Revision(revision);
        Entry::new(
            key,
            revision,
            Revision(2),
            (bytes.as_bytes(), rv_at),
            Attributes::default(),
        )
    }

    #[test]
    fn the_revision_is_spliced_in_and_exchanged() {
        let cases = [(7, 8), (9, 10), (1, u64::MAX), (u64::MAX, 3)];
        for (first, second) in cases {
            let entry = entry(r#"{"metadata":{"uid":"x"}}"#, 13, first);
            let text = |r| format!(r#"{{"metadata":{{"resourceVersion":"{r}","uid":"x"}}}}"#);
            assert_eq!(entry.json, text(first));
            assert_eq!(entry.json.len(), text(first).len());
            let later = entry.at(Revision(second));
            assert_eq!(later.json, text(second));
            assert_eq!(later.revision, Revision(second));
            assert_eq!(later.at(Revision(first)).json, entry.json);
        }
    }

    #[test]
    fn metadata_is_found_whatever_its_strings_hold() {
        let cases = [
            r#"{"uid":"x"}"#,
            r#"{"annotations":{"a":"}\"{","b":"\\"},"ownerReferences":[{"k":"]"}]}"#,
        ];
        for metadata in cases {
            let text = format!(r#"{{"kind":"K","metadata":{metadata},"spec":{{}}}}"#);
            let entry = entry(&text, 24, 5);
            let expected = format!(r#"{{"resourceVersion":"5",{}"#, &metadata[1..]);
            assert_eq!(entry.metadata(), Some(expected.as_bytes()));
        }
        assert_eq!(entry("{}", Stored::NO_RV, 5).metadata(), None);
    }

    #[test]
    fn who_manages_what_is_left_out_at_every_revision() {
        let head = r#"{"kind":"K","metadata":{"#;
        let managers = r#""managedFields":[{"fieldsV1":{"f:spec":{}}}],"#;
        let (name, spec) = (r#""name":"n"}"#, r#","spec":{"managedFields":[1]}}"#);
        for managers in [managers, ""] {
            let text = format!("{head}{managers}{name}{spec}");
            let from = head.len() as u32;
            let to = from + managers.len() as u32;
            let mut stored = Stored::new(text.into(), from, Attributes::default());
            stored.marks = Some(Marks {
                managers: (from, to),
                metadata_end: to + name.len() as u32,
            });
            let key = Key::of("", "pods", Some("a"), "b");
            let first = Entry::of(key, Revision(9), Revision(9), &stored);
            for entry in [first.at(Revision(1234)), first] {
                let revision = entry.revision;
                let metadata = format!(r#"{{"resourceVersion":"{revision}",{name}"#);
                let join = |parts: Option<(&[u8], &[u8])>| {
                    let (head, tail) = parts.unwrap();
                    String::from_utf8([head, tail].concat()).unwrap()
                };
                assert_eq!(join(entry.metadata_without_managers()), metadata);
                let whole = format!(r#"{{"kind":"K","metadata":{metadata}{spec}"#);
                assert_eq!(join(entry.without_managers()), whole);
                let full = format!(r#"{{"resourceVersion":"{revision}",{managers}{name}"#);
                assert_eq!(entry.metadata(), Some(full.as_bytes()));
            }
        }
        assert_eq!(entry("{}", 1, 5).without_managers(), None);
    }

    #[test]
    fn bytes_without_a_place_for_the_revision_stay_as_they_are() {
        for rv_at in [Stored::NO_RV, 99] {
            let entry = entry("{}", rv_at, 5);
            assert_eq!(entry.json, "{}");
            assert_eq!(entry.at(Revision(6)).json, "{}");
        }
    }
}
