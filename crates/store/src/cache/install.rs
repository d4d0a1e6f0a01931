//! Fills a resource from the engine when it is registered.

use std::sync::Arc;

use super::{Cache, Resource};
use crate::engine::{Install, Record};
use crate::entry::Entry;
use crate::key::{Key, Revision};

/// Gathers a resource's objects, and puts the resource into the cache when it has all.
pub(crate) struct Installer {
    cache: Arc<Cache>,
    resource: Arc<Resource>,
    entries: Vec<Arc<Entry>>,
}

impl Installer {
    pub(crate) fn new(cache: Arc<Cache>, resource: Arc<Resource>) -> Self {
        Installer {
            cache,
            resource,
            entries: Vec::new(),
        }
    }
}

impl Install for Installer {
    fn record(&mut self, record: Record<'_>) -> Result<(), String> {
        let (key, value) = (
            Key::new(record.key),
            (record.bytes, record.sealed, record.rv_at),
        );
        let reader = &self.resource.reader;
        let entry = reader.entry(&key, record.revision, record.created, value)?;
        self.entries.push(Arc::new(entry));
        Ok(())
    }

    fn done(&mut self, revision: Revision) {
        self.resource
            .loaded(std::mem::take(&mut self.entries), revision);
        self.cache
            .insert(self.resource.prefix(), self.resource.clone());
    }
}
