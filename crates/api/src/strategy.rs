//! What a kind does specially. Every method has a meaning-free default, so that a kind without
//! peculiarities needs no code; the request path in `apiserver` calls them in one order for all:
//! decode → (prepare) → default → admit → validate → store. The generic parts around each step are
//! in [`crate::prepare`], [`crate::defaulting`] and [`crate::validation`].

use jiff::Timestamp;
use schema::{Value, field_error::FieldError};

use crate::object::Object;

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
    /// Before a create: drop what clients may not set (status), set first values.
    /// The generic part (uid, creationTimestamp, generation 1, empty status for kinds with a status
    /// subresource) has been done.
    fn prepare_create(&self, object: &mut Value, now: Timestamp) {}
    /// Before an update: restore from `old` what this part may not change. The generic part (status
    /// kept for `Main`, everything else kept for `Status`) has been done; the generation is moved
    /// afterwards.
    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, now: Timestamp) {}
    /// Everything wrong with a new object beyond its metadata.
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {}
    /// Everything wrong with a new object, where that is more than `validate` says of any object.
    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        self.validate(object, errors);
    }
    /// Everything wrong with an object that was changed, where what was there before may stay although a new
    /// object could not have it.
    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        self.validate(object, errors);
    }
    /// Everything wrong with a change (immutable fields) beyond what `validate_result` says,
    /// which the request path calls as well for `Part::Main`.
    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
    }
    /// What is wrong with the name; the default takes DNS subdomains. With `prefix` the name is a
    /// `generateName`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        let name = if prefix {
            name.trim_end_matches('-')
        } else {
            name
        };
        if prefix && name.is_empty() {
            Vec::new()
        } else {
            crate::names::dns1123_subdomain(name)
        }
    }
    /// The `Warning` headers this object earns.
    fn warnings(&self, object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// The warnings a change earns: those of a new object where the object itself is written.
    fn warnings_on_update(&self, part: Part<'_>, object: &Value, old: &Value) -> Vec<String> {
        match part {
            Part::Main => self.warnings(object),
            _ => Vec::new(),
        }
    }
    /// Before a delete marks the object: finalizers and conditions that only deletes bring.
    fn prepare_delete(&self, object: &mut Value, now: Timestamp) {}
    /// Values of the field selectors beyond `metadata.name` and `metadata.namespace`. By default the
    /// names are paths to texts.
    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        self.field_names()
            .iter()
            .map(|name| (*name, object.text(name).to_owned()))
            .collect()
    }
    /// The names `fields` may answer, also for objects that lack them.
    fn field_names(&self) -> &[&'static str] {
        &[]
    }
    /// How a delete with this grace period (none: the kind's default) treats the object.
    fn deletion(&self, object: &Value, grace_seconds: Option<i64>) -> Deletion {
        Deletion::Immediate
    }
    /// The fields whose change moves `metadata.generation`; none: the kind has no generation.
    fn generation(&self) -> &'static [&'static str] {
        &[]
    }
    /// Has the kind a generation?
    fn has_generation(&self) -> bool {
        !self.generation().is_empty()
    }
    /// Is the status that a new object is sent with kept? Other kinds start without one.
    fn keeps_status_of_new(&self) -> bool {
        false
    }
    /// Does this change move the generation?
    fn moves_generation(&self, object: &Value, old: &Value) -> bool {
        self.generation()
            .iter()
            .any(|path| object.at(path) != old.at(path))
    }
    /// The columns of a table and what stands in them; none where [`crate::columns`] has them.
    fn columns(&self) -> Option<&dyn Columns> {
        None
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

/// How a kind is shown that brings its own columns.
pub trait Columns {
    /// `TableColumnDefinition`s.
    fn definitions(&self) -> Vec<Value>;
    /// A cell per column.
    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value>;
}

/// A kind without peculiarities.
pub struct Plain;

impl Strategy for Plain {}

/// A kind whose peculiarities are a few facts and functions.
pub struct Simple {
    /// See [`Strategy::generation`].
    pub generation: &'static [&'static str],
    /// See [`Strategy::create_on_update`].
    pub create_on_update: bool,
    /// See [`Strategy::unconditional_update`].
    pub unconditional_update: bool,
    /// See [`Strategy::field_names`].
    pub fields: &'static [&'static str],
    /// See [`Strategy::validate_name`].
    pub name: fn(&str, bool) -> Vec<String>,
    /// See [`Strategy::default`].
    pub default: fn(&mut Value),
    /// See [`Strategy::validate`].
    pub validate: fn(&Value, &mut Vec<FieldError>),
    /// See [`Strategy::validate_create`]; comes after `validate`.
    pub validate_create: fn(&Value, &mut Vec<FieldError>),
    /// See [`Strategy::validate_result`]; none: as `validate`.
    pub result: Option<fn(&Value, &Value, &mut Vec<FieldError>)>,
    /// [`Strategy::validate_update`] of the object itself.
    pub update: fn(&Value, &Value, &mut Vec<FieldError>),
    /// [`Strategy::validate_update`] of the status.
    pub status: fn(&Value, &Value, &mut Vec<FieldError>),
    /// See [`Strategy::warnings`].
    pub warnings: fn(&Value) -> Vec<String>,
    /// See [`Strategy::prepare_create`] and [`Strategy::prepare_update`], where the status is not what is
    /// written; what was there before is null for a new object.
    pub prepare: fn(&mut Value, &Value),
}

/// Takes DNS subdomains.
pub fn subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    Plain.validate_name(name, prefix)
}

/// Takes DNS labels.
pub fn label_name(name: &str, prefix: bool) -> Vec<String> {
    let name = if prefix {
        name.trim_end_matches('-')
    } else {
        name
    };
    if prefix && name.is_empty() {
        Vec::new()
    } else {
        crate::names::dns1123_label(name)
    }
}

/// Takes whatever can be one segment of a path.
pub fn path_segment_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix {
        return crate::names::path_segment(name)
            .into_iter()
            .filter(|wrong| !wrong.contains("'."))
            .collect();
    }
    crate::names::path_segment(name)
}

impl Simple {
    /// A kind without peculiarities, to be changed.
    pub const PLAIN: Simple = Simple {
        generation: &[],
        create_on_update: false,
        unconditional_update: true,
        fields: &[],
        name: subdomain_name,
        default: |_| {},
        validate: |_, _| {},
        validate_create: |_, _| {},
        result: None,
        update: |_, _, _| {},
        status: |_, _, _| {},
        warnings: |_| Vec::new(),
        prepare: |_, _| {},
    };
}

impl Strategy for Simple {
    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        (self.validate)(object, errors);
    }
    fn validate_update(
        &self,
        part: Part<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Vec<FieldError>,
    ) {
        match part {
            Part::Main => (self.update)(object, old, errors),
            Part::Status => (self.status)(object, old, errors),
            Part::Sub(_) => {}
        }
    }
    fn validate_create(&self, object: &Value, errors: &mut Vec<FieldError>) {
        (self.validate)(object, errors);
        (self.validate_create)(object, errors);
    }
    fn validate_result(&self, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
        match self.result {
            Some(result) => result(object, old, errors),
            None => (self.validate)(object, errors),
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        (self.warnings)(object)
    }
    fn prepare_create(&self, object: &mut Value, _: Timestamp) {
        (self.prepare)(object, &crate::object::NULL);
    }
    fn prepare_update(&self, part: Part<'_>, object: &mut Value, old: &Value, _: Timestamp) {
        if part == Part::Main {
            (self.prepare)(object, old);
        }
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        (self.name)(name, prefix)
    }
    fn field_names(&self) -> &[&'static str] {
        self.fields
    }
    fn generation(&self) -> &'static [&'static str] {
        self.generation
    }
    fn create_on_update(&self) -> bool {
        self.create_on_update
    }
    fn unconditional_update(&self) -> bool {
        self.unconditional_update
    }
}
