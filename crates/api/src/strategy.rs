//! What a kind does specially. Every method has a meaning-free default, so that a kind without
//! peculiarities needs no code; the request path in `apiserver` calls them in one order for all:
//! decode → (prepare) → default → admit → validate → store.

use jiff::Timestamp;
use schema::{Value, field_error::FieldError};

/// Which part of the object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The object itself: everything but the status.
    Main,
    /// `/status`.
    Status,
    /// Any other subresource, by its name (`resize`, `ephemeralcontainers`, `finalize`, `approval`, …).
    Sub(&'a str),
}

/// How a delete treats the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Removed at once (unless finalizers hold it).
    Immediate,
    /// Marked with `deletionTimestamp`; whoever owns the running thing removes it within these seconds.
    Graceful {
        /// `deletionGracePeriodSeconds`.
        seconds: i64,
    },
}

/// What a kind does specially.
#[allow(unused_variables)]
pub trait Strategy: Send + Sync {
    /// Defaults that the table cannot express. Idempotent.
    fn default(&self, object: &mut Value) {}
    /// Before a create: drop what clients may not set (status), set first values (`generation`).
    /// The generic part (uid, creationTimestamp, generation 1, empty status for kinds with a status
    /// subresource) has been done.
    fn prepare_create(&self, object: &mut Value, now: Timestamp) {}
    /// Before an update: restore from `old` what this part may not change. The generic part (status
    /// kept for `Main`, everything else kept for `Status`, generation bump when the spec changed) has
    /// been done.
    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, now: Timestamp) {}
    /// Everything wrong with a new object beyond its metadata.
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {}
    /// Everything wrong with a change (immutable fields) beyond what `validate` says of the result,
    /// which the request path calls as well for `Part::Main`.
    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
    }
    /// The `Warning` headers this object earns.
    fn warnings(&self, object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Values of the field selectors beyond `metadata.name` and `metadata.namespace`.
    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// The names `fields` may answer, also for objects that lack them.
    fn field_names(&self) -> &'static [&'static str] {
        &[]
    }
    /// How a delete with this grace period (none: the kind's default) treats the object.
    fn deletion(&self, object: &Value, grace_seconds: Option<i64>) -> Deletion {
        Deletion::Immediate
    }
    /// May a PUT create the object when it does not exist (upstream's `AllowCreateOnUpdate`)?
    fn create_on_update(&self) -> bool {
        false
    }
    /// May an update leave out the resourceVersion (upstream's `AllowUnconditionalUpdate`)?
    fn unconditional_update(&self) -> bool {
        true
    }
}

/// A kind without peculiarities.
pub struct Plain;

impl Strategy for Plain {}
