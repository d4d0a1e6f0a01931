//! Lists: one consistent snapshot of a resource, now or at a recent revision. A past snapshot is
//! the present one with the changes since then undone.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::Resource;
use super::resource::State;
use crate::attributes::Signature;
use crate::engine::{Engine, HistoryError};
use crate::entry::Entry;
use crate::event::Event;
use crate::key::{Key, Revision, prefix_end};

/// Changes read from the engine at a time when undoing.
const UNDO_STEP: usize = 4096;

/// What to list. The default is everything, now.
#[derive(Clone, Debug, Default)]
pub struct ListOptions<'a> {
    /// Only this namespace.
    pub namespace: Option<&'a str>,
    /// Only objects whose field has this value; quick for fields registered as indexed.
    pub field: Option<(&'a str, &'a str)>,
    /// Only objects with all of these labels; quick.
    pub labels: &'a [(&'a str, &'a str)],
    /// At most this many.
    pub limit: Option<usize>,
    /// Only objects after this key: where the page before ended.
    pub after: Option<Key>,
    /// As of exactly this revision, instead of now.
    pub at: Option<Revision>,
}

/// A snapshot, or one page of it.
#[derive(Clone, Debug)]
pub struct List {
    /// Its revision.
    pub revision: Revision,
    /// The objects in key order.
    pub items: Vec<Arc<Entry>>,
    /// Whether further objects follow the last item.
    pub more: bool,
    /// How many, where that is known because nothing but a namespace selects.
    pub remaining: Option<usize>,
}

/// Why there is no such snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The resource has not been registered.
    #[error("no resource is registered under {0}")]
    Unregistered(String),
    /// The revision is not kept any more.
    #[error("too old resource version: {requested} ({oldest})")]
    Expired {
        /// The revision asked for.
        requested: Revision,
        /// The oldest that could be had.
        oldest: Revision,
    },
    /// The revision does not exist yet.
    #[error("too large resource version: {requested}, current: {current}")]
    Future {
        /// The revision asked for.
        requested: Revision,
        /// The newest one.
        current: Revision,
    },
    /// The history could not be read.
    #[error("cannot read the past of {prefix}: {message}")]
    History {
        /// The resource.
        prefix: String,
        /// Why.
        message: String,
    },
}

/// What decides over an object after everything in [`ListOptions`] did.
pub(crate) type Filter<'a> = &'a (dyn Fn(&Entry) -> bool + Send + Sync);

/// What stood under each key that changed since: `None` where nothing did.
type Undo = BTreeMap<Key, Option<Arc<Entry>>>;

impl Resource {
    /// Lists. `current` is read by the caller before, and is what everybody may have been told.
    pub(crate) async fn list(
        &self,
        engine: &dyn Engine,
        current: impl Fn() -> Revision + Send + Sync,
        options: &ListOptions<'_>,
        filter: Option<Filter<'_>>,
    ) -> Result<List, ListError> {
        let mut undo = Undo::new();
        let mut undone = options.at;
        loop {
            let floor = {
                let state = self.state.read();
                // Nothing of this resource changed between its newest change and the store's
                let now = state.last.max(current());
                let Some(at) = options.at else {
                    return Ok(collect(self.prefix(), &state, &undo, now, options, filter));
                };
                // What the engine has dropped is refused also where nothing of this resource has
                // changed since: how long a revision serves must not depend on what is listed.
                let oldest = engine.compacted();
                if at < oldest {
                    return Err(ListError::Expired {
                        requested: at,
                        oldest,
                    });
                }
                if at > now {
                    return Err(ListError::Future {
                        requested: at,
                        current: now,
                    });
                }
                if let Some(recent) = state.ring.after(undone.unwrap_or(at)) {
                    recent.for_each(|event| note(&mut undo, event));
                    return Ok(collect(self.prefix(), &state, &undo, at, options, filter));
                }
                state.ring.floor()
            };
            let at = undone.unwrap_or_default();
            let past = engine.changes(self.prefix(), at, floor, UNDO_STEP).await;
            let past = past.map_err(|error| self.history_error(options.at, error))?;
            for change in &past.changes {
                let event = super::past_event(&self.reader, change);
                let event = event.map_err(|message| ListError::History {
                    prefix: self.prefix().to_owned(),
                    message,
                })?;
                if let Some(event) = event {
                    note(&mut undo, &event);
                }
            }
            undone = Some(past.through);
        }
    }

    fn history_error(&self, requested: Option<Revision>, error: HistoryError) -> ListError {
        let requested = requested.unwrap_or_default();
        match error {
            HistoryError::Compacted { oldest } => ListError::Expired { requested, oldest },
            other => ListError::History {
                prefix: self.prefix().to_owned(),
                message: other.to_string(),
            },
        }
    }
}

/// Only the first change after the snapshot tells what the snapshot held.
fn note(undo: &mut Undo, event: &Event) {
    undo.entry(event.entry.key.clone())
        .or_insert_with(|| event.previous.clone());
}

fn collect(
    prefix: &str,
    state: &State,
    undo: &Undo,
    revision: Revision,
    options: &ListOptions<'_>,
    filter: Option<Filter<'_>>,
) -> List {
    let start = match options.namespace {
        Some(namespace) => format!("{prefix}{namespace}/"),
        None => prefix.to_owned(),
    };
    let end = prefix_end(&start);
    let from = match &options.after {
        Some(after) if after.as_str() >= start.as_str() => Bound::Excluded(after.as_str()),
        _ => Bound::Included(start.as_str()),
    };
    // A page that begins after the end has nothing, and BTreeMap dislikes such ranges
    let from = match from {
        Bound::Excluded(after) if after >= end.as_str() => Bound::Included(end.as_str()),
        from => from,
    };
    let range = (from, Bound::Excluded(end.as_str()));
    let page = Page::new(revision, options, filter);
    if undo.is_empty() {
        if let Some(same) = options
            .field
            .and_then(|(name, value)| state.indexed(name, value))
        {
            let entries = same
                .into_iter()
                .flat_map(|same| same.range::<str, _>(range));
            return page.fill(entries.map(|(_, entry)| (entry.attributes.signature(), entry)));
        }
        let slots = state.entries.range::<str, _>(range);
        return page.fill(slots.map(|(_, slot)| (slot.signature, &slot.entry)));
    }
    let mut entries: BTreeMap<&Key, &Arc<Entry>> = BTreeMap::new();
    let slots = state.entries.range::<str, _>(range);
    entries.extend(slots.map(|(key, slot)| (key, &slot.entry)));
    for (key, entry) in undo.range::<str, _>(range) {
        match entry {
            Some(entry) => entries.insert(key, entry),
            None => entries.remove(key),
        };
    }
    page.fill(
        entries
            .into_values()
            .map(|entry| (entry.attributes.signature(), entry)),
    )
}

/// A list being filled.
struct Page<'a> {
    list: List,
    wanted: Signature,
    options: &'a ListOptions<'a>,
    filter: Option<Filter<'a>>,
}

impl<'a> Page<'a> {
    fn new(revision: Revision, options: &'a ListOptions<'a>, filter: Option<Filter<'a>>) -> Self {
        let list = List {
            revision,
            items: Vec::new(),
            more: false,
            remaining: None,
        };
        let wanted = Signature::of_labels(options.labels);
        Page {
            list,
            wanted,
            options,
            filter,
        }
    }

    fn fill<'e>(mut self, mut entries: impl Iterator<Item = (Signature, &'e Arc<Entry>)>) -> List {
        let limit = self.options.limit.unwrap_or(usize::MAX);
        while let Some((signature, entry)) = entries.next() {
            if !self.matches(signature, entry) {
                continue;
            }
            if self.list.items.len() == limit {
                self.list.more = true;
                self.list.remaining = self.selects_all().then(|| 1 + entries.count());
                break;
            }
            self.list.items.push(entry.clone());
        }
        self.list
    }

    fn selects_all(&self) -> bool {
        let options = self.options;
        self.filter.is_none() && options.labels.is_empty() && options.field.is_none()
    }

    fn matches(&self, signature: Signature, entry: &Entry) -> bool {
        let attributes = &entry.attributes;
        signature.contains(self.wanted)
            && self
                .options
                .labels
                .iter()
                .all(|(k, v)| attributes.label(k) == Some(v))
            && self
                .options
                .field
                .is_none_or(|(n, v)| attributes.field(n) == Some(v))
            && self.filter.is_none_or(|filter| filter(entry))
    }
}
