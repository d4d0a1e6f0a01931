//! Sets of fields: a tree of path elements, each of which may be a member itself and may lead to
//! members. Reads and writes `FieldsV1`.

use std::cmp::Ordering;

use super::element::Element;
use crate::{Map, Value};

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Sorted by element; no node is empty.
    nodes: Vec<(Element, Node)>,
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
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn get(&self, element: &Element) -> Option<&Node> {
        self.place(element).ok().map(|place| &self.nodes[place].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Element, &Node)> {
        self.nodes.iter().map(|(element, node)| (element, node))
    }

    fn place(&self, element: &Element) -> Result<usize, usize> {
        self.nodes.binary_search_by(|(known, _)| known.cmp(element))
    }

    /// Puts a branch in, united with what is there.
    pub(super) fn put(&mut self, element: Element, node: Node) {
        if node.is_empty() {
            return;
        }
        // Walks go in order, so that nearly every branch comes last.
        if self.nodes.last().is_none_or(|(last, _)| *last < element) {
            self.nodes.push((element, node));
            return;
        }
        match self.place(&element) {
            Err(place) => self.nodes.insert(place, (element, node)),
            Ok(place) => {
                let known = &mut self.nodes[place].1;
                known.member |= node.member;
                known.below.extend(node.below);
            }
        }
    }

    fn extend(&mut self, other: Set) {
        if self.is_empty() {
            *self = other;
            return;
        }
        for (element, node) in other.nodes {
            self.put(element, node);
        }
    }

    /// Puts one path in; its beginnings are not members by that.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let mut node = Node::default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
        self.put(first.clone(), node);
    }

    /// Whether the path is a member.
    pub fn contains(&self, path: &[Element]) -> bool {
        match path.split_first() {
            None => false,
            Some((first, rest)) => self.get(first).is_some_and(|node| {
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
    pub fn union(mut self, other: Set) -> Set {
        self.extend(other);
        self
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set::default();
        let (mut ours, mut theirs) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        while let (Some((element, our)), Some((other, their))) = (ours.peek(), theirs.peek()) {
            match element.cmp(other) {
                Ordering::Less => drop(ours.next()),
                Ordering::Greater => drop(theirs.next()),
                Ordering::Equal => {
                    let both = Node {
                        member: our.member && their.member,
                        below: our.below.intersection(&their.below),
                    };
                    out.put(element.clone(), both);
                    ours.next();
                    theirs.next();
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

    fn without(mut self, other: &Set, recursive: bool) -> Set {
        if other.is_empty() {
            return self;
        }
        self.nodes.retain_mut(|(element, node)| {
            let Some(theirs) = other.get(element) else {
                return true;
            };
            if theirs.member && recursive {
                return false;
            }
            node.member &= !theirs.member;
            let below = std::mem::take(&mut node.below);
            node.below = below.without(&theirs.below, recursive);
            !node.is_empty()
        });
        self
    }

    /// What is at or below one of the other's members, and members on the way to them, as
    /// upstream's matcher has it.
    #[must_use]
    pub(super) fn within(mut self, other: &Set) -> Set {
        self.nodes.retain_mut(|(element, node)| {
            let Some(theirs) = other.get(element) else {
                return false;
            };
            if !theirs.member {
                let below = std::mem::take(&mut node.below);
                node.below = below.within(&theirs.below);
            }
            !node.is_empty()
        });
        self
    }

    /// Every member's path, the members of a place before those further below.
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

    /// Whether one of the members is in a set that is still in the form of `FieldsV1`.
    pub(super) fn meets(&self, fields: &Value) -> bool {
        let Value::Object(map) = fields else {
            return false;
        };
        !map.is_empty()
            && self.nodes.iter().any(|(element, node)| {
                let Some(below) = map.get(&element.serialize()) else {
                    return false;
                };
                let is_leaf = below.as_object().is_none_or(Map::is_empty);
                (node.member && (is_leaf || below.get(".").is_some())) || node.below.meets(below)
            })
    }
}
