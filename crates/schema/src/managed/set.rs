//! Sets of fields: a tree of path elements, each of which may be a member itself and may lead to
//! members. Reads and writes `FieldsV1`.

use std::collections::{BTreeMap, btree_map::Entry};

use super::element::Element;
use crate::{Map, Value};

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    nodes: BTreeMap<Element, Node>,
}

/// What a set has at and below one element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The element itself is in the set.
    pub(super) member: bool,
    /// What is in the set below it.
    pub(super) below: Set,
}

impl Node {
    pub(super) fn leaf() -> Self {
        Self {
            member: true,
            below: Set::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    /// Whether nothing is in the set. No operation leaves empty branches behind.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn get(&self, element: &Element) -> Option<&Node> {
        self.nodes.get(element)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Element, &Node)> {
        self.nodes.iter()
    }

    /// Puts a branch in, united with what is there.
    pub(super) fn put(&mut self, element: Element, node: Node) {
        if node.is_empty() {
            return;
        }
        match self.nodes.entry(element) {
            Entry::Vacant(slot) => {
                slot.insert(node);
            }
            Entry::Occupied(mut slot) => {
                let known = slot.get_mut();
                known.member |= node.member;
                known.below.extend(node.below);
            }
        }
    }

    fn extend(&mut self, other: Set) {
        for (element, node) in other.nodes {
            self.put(element, node);
        }
    }

    /// Puts one path in; its beginnings are not members by that.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let node = self.nodes.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Whether the path is a member.
    pub fn contains(&self, path: &[Element]) -> bool {
        match path.split_first() {
            None => false,
            Some((first, rest)) => self.nodes.get(first).is_some_and(|node| {
                if rest.is_empty() {
                    node.member
                } else {
                    node.below.contains(rest)
                }
            }),
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: &Set) -> Set {
        self.extend(other.clone());
        self
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.nodes.get(element) {
                let both = Node {
                    member: node.member && theirs.member,
                    below: node.below.intersection(&theirs.below),
                };
                if !both.is_empty() {
                    out.nodes.insert(element.clone(), both);
                }
            }
        }
        out
    }

    /// What is here and not in the other; members below a member of the other stay.
    #[must_use]
    pub fn difference(self, other: &Set) -> Set {
        self.without(other, false)
    }

    /// What is here and neither in the other nor below a member of it.
    #[must_use]
    pub fn recursive_difference(self, other: &Set) -> Set {
        self.without(other, true)
    }

    fn without(self, other: &Set, recursive: bool) -> Set {
        if other.is_empty() {
            return self;
        }
        let nodes = self
            .nodes
            .into_iter()
            .filter_map(|(element, node)| {
                let Some(theirs) = other.nodes.get(&element) else {
                    return Some((element, node));
                };
                if theirs.member && recursive {
                    return None;
                }
                let left = Node {
                    member: node.member && !theirs.member,
                    below: node.below.without(&theirs.below, recursive),
                };
                (!left.is_empty()).then_some((element, left))
            })
            .collect();
        Set { nodes }
    }

    /// What is at or below one of the other's members.
    #[must_use]
    pub(super) fn within(self, other: &Set) -> Set {
        let nodes = self
            .nodes
            .into_iter()
            .filter_map(|(element, node)| {
                let theirs = other.nodes.get(&element)?;
                if theirs.member {
                    return Some((element, node));
                }
                let left = Node {
                    // On the way to a member: kept, as upstream's matcher does.
                    member: node.member,
                    below: node.below.within(&theirs.below),
                };
                (!left.is_empty()).then_some((element, left))
            })
            .collect();
        Set { nodes }
    }

    /// Every member's path, parents before children.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.walk(&mut Vec::new(), &mut out);
        out
    }

    fn walk(&self, at: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for (element, node) in &self.nodes {
            if node.member {
                let mut path = at.clone();
                path.push(element.clone());
                out.push(path);
            }
        }
        for (element, node) in &self.nodes {
            at.push(element.clone());
            node.below.walk(at, out);
            at.pop();
        }
    }

    /// The set as `FieldsV1`.
    pub fn to_fields(&self) -> Value {
        let mut out = Map::new();
        for (element, node) in &self.nodes {
            let mut below = node.below.to_fields();
            if let (Value::Object(map), true) = (&mut below, node.member)
                && !map.is_empty()
            {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.serialize(), below);
        }
        Value::Object(out)
    }

    /// Reads `FieldsV1`.
    pub fn from_fields(fields: &Value) -> Result<Set, String> {
        let Value::Object(map) = fields else {
            return Err("fieldsV1 must be an object".to_owned());
        };
        let mut out = Set::default();
        for (key, below) in map {
            if key == "." {
                continue;
            }
            let Some(element) = Element::parse(key)? else {
                continue;
            };
            let below_set = Set::from_fields(below)?;
            let own = below.get(".").is_some();
            out.put(
                element,
                Node {
                    member: own || below_set.is_empty(),
                    below: below_set,
                },
            );
        }
        Ok(out)
    }
}
