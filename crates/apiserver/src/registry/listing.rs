//! A list whose items are made one at a time while it is written. Many objects as values take
//! dozens of times the memory of their bytes, so no list holds more than one of them where it need
//! not.

use std::cell::RefCell;
use std::sync::Arc;

use api::status::Status;
use serde::Serialize;
use serde::ser::{Error, SerializeMap, Serializer};
use serde_json::Value;
use store::Entry;

use super::serialize;
use crate::endpoint::Endpoint;

/// What the items are made from.
pub enum Source<'a> {
    /// Stored objects, which the program itself decodes and converts.
    Stored(&'a Endpoint, &'a [Arc<Entry>]),
    /// Objects that were converted elsewhere, all at once.
    Made(&'a [Value]),
}

/// See the module.
pub struct Listing<'a, F> {
    /// The fields before the items.
    head: Value,
    /// What the items' field is called.
    name: &'static str,
    source: Source<'a>,
    /// What becomes of each object.
    item: F,
}

impl<'a> Source<'a> {
    /// The objects of a list.
    pub async fn of(
        endpoint: &'a Endpoint,
        entries: &'a [Arc<Entry>],
        made: &'a mut Vec<Value>,
    ) -> Result<Source<'a>, Status> {
        if !endpoint.is_converted_elsewhere() {
            return Ok(Source::Stored(endpoint, entries));
        }
        *made = serialize::live_all(endpoint, entries).await?;
        Ok(Source::Made(made))
    }
}

impl<'a, F: Fn(Value) -> Value> Listing<'a, F> {
    /// A list of `head`'s fields and the items under `name`, each made from its object by `item`.
    pub fn new(head: Value, name: &'static str, source: Source<'a>, item: F) -> Self {
        Listing {
            head,
            name,
            source,
            item,
        }
    }

    /// The fields before the items.
    pub fn head(&self) -> &Value {
        &self.head
    }

    /// The whole list as one value, for encodings that need it.
    pub fn value(self) -> Result<Value, Status> {
        let items: Vec<Value> = match &self.source {
            Source::Made(made) => made.iter().cloned().map(&self.item).collect(),
            Source::Stored(endpoint, entries) => entries
                .iter()
                .map(|entry| Ok((self.item)(serialize::native(endpoint, entry)?)))
                .collect::<Result<_, Status>>()?,
        };
        let mut value = self.head;
        value[self.name] = items.into();
        Ok(value)
    }
}

impl<F: Fn(Value) -> Value> Serialize for Listing<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.head.as_object().into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(self.name, &Items(self))?;
        map.end()
    }
}

struct Items<'l, 'a, F>(&'l Listing<'a, F>);

impl<F: Fn(Value) -> Value> Serialize for Items<'_, '_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Listing { source, item, .. } = self.0;
        match source {
            Source::Made(made) => serializer.collect_seq(made.iter().cloned().map(item)),
            Source::Stored(endpoint, entries) => {
                // An iterator of results would be written as results; the first failure ends it.
                let failure = RefCell::new(None);
                let items =
                    entries
                        .iter()
                        .map_while(|entry| match serialize::native(endpoint, entry) {
                            Ok(object) => Some(item(object)),
                            Err(status) => {
                                *failure.borrow_mut() = Some(status);
                                None
                            }
                        });
                let done = serializer.collect_seq(items)?;
                match failure.into_inner() {
                    Some(status) => Err(S::Error::custom(status)),
                    None => Ok(done),
                }
            }
        }
    }
}
