//! Lists: views on JSON, or made while evaluating.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Fault, Outcome, Value, equal, json};
use crate::declared::{Declared, ListKind};

/// A list.
#[derive(Clone, Debug)]
pub struct List<'a> {
    items: Items<'a>,
    /// How it compares and adds.
    pub(crate) kind: Option<&'a ListKind>,
}

#[derive(Clone, Debug)]
enum Items<'a> {
    Owned(Arc<Vec<Value<'a>>>),
    Json(&'a [Json], Option<&'a Declared>),
}

impl<'a> List<'a> {
    /// Of these.
    pub fn owned(values: Vec<Value<'a>>) -> Self {
        Self {
            items: Items::Owned(Arc::new(values)),
            kind: None,
        }
    }

    pub(crate) fn json(items: &'a [Json]) -> Self {
        Self {
            items: Items::Json(items, None),
            kind: None,
        }
    }

    pub(crate) fn typed(items: &'a [Json], element: &'a Declared, kind: &'a ListKind) -> Self {
        Self {
            items: Items::Json(items, Some(element)),
            kind: Some(kind),
        }
    }

    /// How many items.
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Owned(values) => values.len(),
            Items::Json(items, _) => items.len(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at this place.
    pub(crate) fn get(&self, place: usize) -> Outcome<'a> {
        match &self.items {
            Items::Owned(values) => values.get(place).cloned(),
            Items::Json(items, Some(element)) => {
                return match items.get(place) {
                    Some(item) => json::typed(item, element),
                    None => Err(out_of_bounds(place)),
                };
            }
            Items::Json(items, None) => items.get(place).map(json::dynamic),
        }
        .ok_or_else(|| out_of_bounds(place))
    }

    /// The items in order; one that its schema forbids is a fault.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Outcome<'a>> + '_ {
        (0..self.len()).map(|place| self.get(place))
    }

    /// The items, all read.
    pub(crate) fn values(&self) -> Result<Vec<Value<'a>>, Fault> {
        self.iter().collect()
    }

    /// Does it hold a value equal to this?
    pub(crate) fn contains(&self, value: &Value<'a>) -> Result<bool, Fault> {
        let mut wrong = None;
        for item in self.iter() {
            match item.and_then(|item| equal(&item, value)) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(fault) => wrong = wrong.or(Some(fault)),
            }
        }
        wrong.map_or(Ok(false), Err)
    }

    /// Puts one more at the end: in place where nobody else holds the list.
    pub(crate) fn push(&mut self, value: Value<'a>) -> Result<(), Fault> {
        if let Items::Owned(values) = &mut self.items
            && let Some(values) = Arc::get_mut(values)
        {
            values.push(value);
            return Ok(());
        }
        let mut values = self.values()?;
        values.push(value);
        self.items = Items::Owned(Arc::new(values));
        Ok(())
    }

    /// One after the other; sets and lists of keyed objects (`x-kubernetes-list-type`) keep one of each,
    /// the later value at the earlier place.
    pub(crate) fn add(&self, other: &List<'a>) -> Result<List<'a>, Fault> {
        let mut values = Vec::with_capacity(self.len() + other.len());
        for item in self.iter() {
            values.push(item?);
        }
        match self.kind {
            None | Some(ListKind::Atomic) => {
                for item in other.iter() {
                    values.push(item?);
                }
            }
            Some(ListKind::Set) => {
                for item in other.iter() {
                    let item = item?;
                    if !holds(&values, &item)? {
                        values.push(item);
                    }
                }
            }
            Some(ListKind::Map(keys)) => {
                for item in other.iter() {
                    let item = item?;
                    match place_of(&values, &item, keys)? {
                        Some(place) => values[place] = item,
                        None => values.push(item),
                    }
                }
            }
        }
        Ok(List {
            items: Items::Owned(Arc::new(values)),
            kind: self.kind,
        })
    }

    /// Equal to another, in this list's sense of it: sets whatever the order, keyed objects by key.
    pub(crate) fn equals(&self, other: &List<'a>) -> Result<bool, Fault> {
        if self.len() != other.len() {
            return Ok(false);
        }
        match self.kind {
            None | Some(ListKind::Atomic) => {
                for (a, b) in self.iter().zip(other.iter()) {
                    if !equal(&a?, &b?)? {
                        return Ok(false);
                    }
                }
            }
            Some(ListKind::Set) => {
                let values = self.values()?;
                for item in other.iter() {
                    if !holds(&values, &item?)? {
                        return Ok(false);
                    }
                }
            }
            Some(ListKind::Map(keys)) => {
                let values = self.values()?;
                for item in other.iter() {
                    let item = item?;
                    match place_of(&values, &item, keys)? {
                        Some(place) if equal(&values[place], &item)? => {}
                        _ => return Ok(false),
                    }
                }
            }
        }
        Ok(true)
    }
}

fn holds<'a>(values: &[Value<'a>], item: &Value<'a>) -> Result<bool, Fault> {
    for value in values {
        if equal(value, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the object with this one's keys stands.
fn place_of<'a>(
    values: &[Value<'a>],
    item: &Value<'a>,
    keys: &[Box<str>],
) -> Result<Option<usize>, Fault> {
    'values: for (place, value) in values.iter().enumerate() {
        for key in keys {
            let same = match (property(value, key), property(item, key)) {
                (Some(a), Some(b)) => equal(&a?, &b?)?,
                (None, None) => true,
                _ => false,
            };
            if !same {
                continue 'values;
            }
        }
        return Ok(Some(place));
    }
    Ok(None)
}

fn property<'a>(value: &Value<'a>, key: &str) -> Option<Outcome<'a>> {
    match value {
        Value::Map(map) => map.property(key),
        _ => None,
    }
}

fn out_of_bounds(place: usize) -> Fault {
    Fault::new(format!("index out of bounds: {place}"))
}

/// A list index out of a value, as upstream converts it.
pub(crate) fn check_index(index: &Value<'_>) -> Result<i64, Fault> {
    match index {
        Value::Int(value) => Ok(*value),
        Value::Double(value) if value.fract() == 0.0 && value.abs() < 9.0e18 => Ok(*value as i64),
        Value::Double(value) => Err(Fault::new(format!(
            "unsupported index value {value} in list"
        ))),
        Value::Uint(value) => i64::try_from(*value)
            .map_err(|_| Fault::new(format!("unsupported index value {value} in list"))),
        other => Err(Fault::new(format!(
            "unsupported index type '{}' in list",
            other.type_name()
        ))),
    }
}
