//! Fields that a write does not set however it names them: the status in writes of the object, the
//! spec in writes of the status. Nobody comes to manage them that way.

use super::{element::Element, set::Set};

/// Fields left out of account.
#[derive(Clone, Debug, Default)]
pub struct ResetFields {
    excluded: Set,
    only: Option<Set>,
}

fn set_of<'a>(paths: impl IntoIterator<Item = &'a [&'a str]>) -> Set {
    let mut out = Set::default();
    for path in paths {
        let path: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
        out.insert(&path);
    }
    out
}

impl ResetFields {
    /// What most kinds leave out: `status` in writes of the object, `spec` in those of `status`.
    pub fn of(subresource: &str) -> Self {
        match subresource {
            "" => Self::excluding([&["status"][..]]),
            "status" => Self::excluding([&["spec"][..]]),
            _ => Self::none(),
        }
    }

    /// Nothing is left out.
    pub fn none() -> Self {
        Self::default()
    }

    /// These fields and all below them are left out.
    pub fn excluding<'a>(paths: impl IntoIterator<Item = &'a [&'a str]>) -> Self {
        Self {
            excluded: set_of(paths),
            only: None,
        }
    }

    /// All but these fields and what is below them is left out.
    pub fn all_but<'a>(paths: impl IntoIterator<Item = &'a [&'a str]>) -> Self {
        Self {
            excluded: Set::default(),
            only: Some(set_of(paths)),
        }
    }

    pub(super) fn filter(&self, set: Set) -> Set {
        let set = match &self.only {
            Some(only) => set.within(only),
            None => set,
        };
        set.recursive_difference(&self.excluded)
    }
}
