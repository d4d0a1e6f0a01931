//! What a schema asks of values, worded as upstream words it. With the object's earlier state at
//! hand, values that have not changed are not judged again (KEP-4008).

use std::{cell::Cell, collections::HashMap};

use crate::{
    Path, Value,
    constraint::{Constraints, JsonKind, Rules},
    field_error::{FieldError, FieldErrorKind, quote},
    table::{Kind, ListKind, MapKind, Scalar, Shape, Table, Ty, TypeId},
};

/// Errors that are told of; an object with more is as wrong with the rest left out.
const MAX_ERRORS: usize = 500;

/// What validating one object may cost: rules that are looked at, and more for texts that are matched.
/// Many times what large objects need; beyond it (a hundred thousand items, each with as many
/// alternatives) nobody would wait for the answer.
const MAX_WORK: u64 = 5_000_000;

/// What is said of an object that takes more.
const TOO_MUCH: &str = "validating the object against its schema takes too long";

/// Where upstream shows no path.
const NOWHERE: &str = "<nil>";

/// Everything wrong with an object of this type; `old` is what it was.
pub fn validate(table: &Table, ty: TypeId, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let walk = Walk::new(table, None);
    walk.place(&Ty::Ref(ty), None, &How::UNSET, &Path::ROOT, object, old)
        .errors
}

/// Everything wrong with one field of an object, which alone was written: the status.
pub fn validate_part(
    table: &Table,
    ty: TypeId,
    name: &str,
    object: &Value,
    old: Option<&Value>,
) -> Vec<FieldError> {
    let Kind::Struct(_, fields) = table.kind_of(ty) else {
        return Vec::new();
    };
    let (Some(field), Some(value)) = (fields.field(name), object.get(name)) else {
        return Vec::new();
    };
    let walk = Walk::new(table, Some(name));
    let how = How {
        list: &field.list,
        map: field.map,
    };
    let old = old.and_then(|old| old.get(name));
    let constraints = field.constraints.as_deref();
    walk.place(&field.ty, constraints, &how, &Path::ROOT, value, old)
        .errors
}

/// How a place's old and new elements meet.
struct How<'t> {
    list: &'t ListKind,
    map: MapKind,
}

impl How<'_> {
    const UNSET: How<'static> = How {
        list: &ListKind::Unset,
        map: MapKind::Unset,
    };
}

#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    /// Checks passed: the alternative with the most is the one meant.
    matches: usize,
}

impl Outcome {
    fn add(&mut self, error: FieldError) {
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        other.errors.into_iter().for_each(|error| self.add(error));
    }

    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

struct Walk<'t> {
    table: &'t Table,
    /// The field that is looked at alone.
    base: Option<&'t str>,
    /// What is left of [`MAX_WORK`].
    left: Cell<u64>,
}

/// A name as messages have it.
fn shown(path: &Path<'_>) -> String {
    path.to_string()
}

impl<'t> Walk<'t> {
    fn new(table: &'t Table, base: Option<&'t str>) -> Self {
        Walk {
            table,
            base,
            left: Cell::new(MAX_WORK),
        }
    }

    /// Takes the cost of looking at these rules; false when nothing is left.
    fn pays(&self, c: &Constraints, value: &Value) -> bool {
        let text = value.as_str().map_or(0, str::len);
        let matched = if c.pattern.is_some() { text / 8 } else { 0 };
        let cost = 1 + (matched + c.allowed.len() / 8 + c.required.len() / 8) as u64;
        self.left.set(self.left.get().saturating_sub(cost));
        self.left.get() > 0
    }

    /// Where an error is: below the part looked at.
    fn at(&self, path: &str) -> String {
        match (self.base, path) {
            (None, "") => NOWHERE.to_owned(),
            (None, path) => path.to_owned(),
            (Some(base), "") => base.to_owned(),
            (Some(base), path) => format!("{base}.{path}"),
        }
    }

    fn error(
        &self,
        kind: FieldErrorKind,
        path: &Path<'_>,
        value: impl Into<Value>,
        detail: String,
    ) -> FieldError {
        FieldError {
            kind,
            path: self.at(&shown(path)),
            value: Some(value.into()),
            detail,
        }
    }

    fn invalid(&self, path: &Path<'_>, value: impl Into<Value>, detail: String) -> FieldError {
        self.error(FieldErrorKind::Invalid, path, value, detail)
    }

    /// One that upstream reports without its place.
    fn composite(&self, detail: String) -> FieldError {
        FieldError {
            kind: FieldErrorKind::Invalid,
            path: self.at(""),
            value: Some("".into()),
            detail,
        }
    }

    fn place(
        &self,
        ty: &'t Ty,
        constraints: Option<&'t Constraints>,
        how: &How<'t>,
        path: &Path<'_>,
        value: &Value,
        old: Option<&Value>,
    ) -> Outcome {
        let (mut ty, mut constraints) = (ty, constraints);
        let mut how = How { ..*how };
        while let Ty::Ref(id) = ty
            && let Shape::Alias(alias) = &self.table.get(*id).shape
        {
            ty = &alias.ty;
            constraints = constraints.or(alias.constraints.as_deref());
            if *how.list == ListKind::Unset {
                how.list = &alias.list;
            }
            if how.map == MapKind::Unset {
                how.map = alias.map;
            }
        }
        static NONE: std::sync::LazyLock<Constraints> =
            std::sync::LazyLock::new(Constraints::default);
        let constraints = constraints.unwrap_or(&NONE);
        let kind = self.table.kind(ty);
        let kinds: &[JsonKind] = match kind {
            _ if constraints.untyped => &[],
            Kind::Struct(_, fields) if !fields.custom => &[],
            Kind::Struct(..) | Kind::Map(_) => &[JsonKind::Object],
            Kind::List(_) => &[JsonKind::Array],
            Kind::Scalar(Scalar::String) => &[JsonKind::String],
            Kind::Scalar(Scalar::Int64) => &[JsonKind::Integer],
            Kind::Scalar(Scalar::Double) => &[JsonKind::Number],
            Kind::Scalar(Scalar::Bool) => &[JsonKind::Boolean],
            Kind::Scalar(Scalar::IntOrString) => &[JsonKind::Integer, JsonKind::String],
            _ => &[],
        };
        let below = |out: &mut Outcome| match (kind, value) {
            (Kind::Struct(_, fields), Value::Object(map)) if fields.custom => {
                for (name, value) in map {
                    let Some(field) = fields.field(name) else {
                        continue;
                    };
                    let old = self.old_field(&how, path, name, old);
                    let how = How {
                        list: &field.list,
                        map: field.map,
                    };
                    let own = field.constraints.as_deref();
                    out.merge(self.place(&field.ty, own, &how, &path.field(name), value, old));
                }
            }
            (Kind::Map(element), Value::Object(map)) => {
                for (name, value) in map {
                    let old = self.old_field(&how, path, name, old);
                    let path = path.field(name);
                    out.merge(self.place(element, None, &How::UNSET, &path, value, old));
                }
            }
            (Kind::List(element), Value::Array(items)) => {
                let before = OldItems::new(how.list, old);
                for (at, value) in items.iter().enumerate() {
                    let old = before.find(value);
                    let path = path.index(at);
                    out.merge(self.place(element, None, &How::UNSET, &path, value, old));
                }
            }
            _ => {}
        };
        let out = self.rules(kinds, constraints, path, value, old, below);
        // What was wrong before and has not changed is not judged.
        if !out.is_valid() && old == Some(value) {
            return Outcome {
                matches: out.matches,
                ..Outcome::default()
            };
        }
        out
    }

    /// The earlier value of a field, where the two can be told to be the same.
    fn old_field<'v>(
        &self,
        how: &How<'_>,
        path: &Path<'_>,
        name: &str,
        old: Option<&'v Value>,
    ) -> Option<&'v Value> {
        let at_root = self.base.is_none() && shown(path).is_empty();
        if how.map == MapKind::Atomic || at_root && matches!(name, "kind" | "apiVersion") {
            return None;
        }
        old.and_then(|old| old.get(name))
    }

    /// Rules inside of `allOf` and its like.
    fn nested(
        &self,
        rules: &'t Rules,
        path: &Path<'_>,
        value: &Value,
        old: Option<&Value>,
    ) -> Outcome {
        let kinds: &[JsonKind] = match &rules.kind {
            Some(kind) => std::slice::from_ref(kind),
            None => &[],
        };
        self.rules(kinds, &rules.own, path, value, old, |out| match value {
            Value::Object(map) => {
                for (name, rules) in &rules.properties {
                    if let Some(value) = map.get(&**name) {
                        let old = old.and_then(|old| old.get(&**name));
                        let below = self.nested(rules, &path.field(name), value, old);
                        if below.is_valid() || old != Some(value) {
                            out.merge(below);
                        }
                    }
                }
            }
            Value::Array(items) => {
                for (at, value) in items.iter().enumerate() {
                    if let Some(rules) = &rules.items {
                        out.merge(self.nested(rules, &path.index(at), value, None));
                    }
                }
            }
            _ => {}
        })
    }

    /// All rules on one value, in the order in which upstream looks at them.
    fn rules(
        &self,
        kinds: &[JsonKind],
        c: &'t Constraints,
        path: &Path<'_>,
        value: &Value,
        old: Option<&Value>,
        below: impl FnOnce(&mut Outcome),
    ) -> Outcome {
        let mut out = Outcome::default();
        if !self.pays(c, value) {
            out.add(self.composite(TOO_MUCH.to_owned()));
            return out;
        }
        if let Some(error) = self.kind(kinds, c, path, value) {
            out.add(error);
        } else {
            out.matches += 1;
        }
        if value.is_null() {
            self.allowed(c, path, value, &mut out);
            return out;
        }
        self.logic(c, path, value, old, &mut out);
        match value {
            Value::String(text) => self.string(c, path, text, &mut out),
            Value::Number(number) => self.number(kinds, c, path, number, &mut out),
            Value::Array(items) => {
                below(&mut out);
                let size = items.len() as u64;
                if let Some(least) = c.min_items.filter(|least| size < *least) {
                    let name = shown(path);
                    let detail = format!("{name} in body should have at least {least} items");
                    out.add(self.invalid(path, size, detail));
                }
                if let Some(most) = c.max_items.filter(|most| size > *most) {
                    out.add(self.too_many(path, size, most));
                }
                self.allowed(c, path, value, &mut out);
                return out;
            }
            _ => {}
        }
        self.allowed(c, path, value, &mut out);
        if let Value::Object(map) = value {
            let size = map.len() as u64;
            if let Some(least) = c.min_properties.filter(|least| size < *least) {
                let name = shown(path);
                let detail = format!("{name} in body should have at least {least} properties");
                out.add(self.invalid(path, size, detail));
            }
            if let Some(most) = c.max_properties.filter(|most| size > *most) {
                out.add(self.too_many(path, size, most));
            }
            below(&mut out);
            for name in &c.required {
                if !map.contains_key(&**name) {
                    let path = self.at(&shown(&path.field(name)));
                    out.add(FieldError::required(path, ""));
                }
            }
        }
        out.matches += 1;
        out
    }

    fn too_many(&self, path: &Path<'_>, size: u64, most: u64) -> FieldError {
        FieldError::too_many(self.at(&shown(path)), size as usize, most as usize)
    }

    /// The wrong type.
    fn kind(
        &self,
        kinds: &[JsonKind],
        c: &Constraints,
        path: &Path<'_>,
        value: &Value,
    ) -> Option<FieldError> {
        let wanted = || {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            names.join(",")
        };
        let wrong = |wanted: &str, found: &str| {
            let name = shown(path);
            let detail = format!("{name} in body must be of type {wanted}: {}", quote(found));
            self.error(FieldErrorKind::TypeInvalid, path, found, detail)
        };
        let (found, format) = match value {
            Value::Null => {
                let fits = kinds.is_empty() || c.nullable;
                return (!fits).then(|| wrong(&wanted(), "null"));
            }
            Value::Bool(_) => (JsonKind::Boolean, ""),
            Value::String(_) => (JsonKind::String, ""),
            Value::Array(_) => (JsonKind::Array, ""),
            Value::Object(_) => (JsonKind::Object, ""),
            Value::Number(number) if number.is_f64() => (JsonKind::Number, "float64"),
            Value::Number(_) => (JsonKind::Integer, "int64"),
        };
        if kinds.is_empty() && c.format.is_none() {
            return None;
        }
        let takes = |kind: JsonKind| kinds.contains(&kind);
        let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
        let fits = takes(found)
            || found == JsonKind::Number && whole && takes(JsonKind::Integer)
            || found == JsonKind::Integer && takes(JsonKind::Number);
        let textual = matches!(found, JsonKind::String | JsonKind::Array);
        match c.format.as_deref() {
            Some(wanted) if !textual && !fits => Some(wrong(wanted, format)),
            // As upstream: a format takes the place of a text's type.
            Some(_) if textual && !takes(JsonKind::Number) && !takes(JsonKind::Integer) => None,
            _ => (!fits && !kinds.is_empty()).then(|| wrong(&wanted(), found.name())),
        }
    }

    fn allowed(&self, c: &Constraints, path: &Path<'_>, value: &Value, out: &mut Outcome) {
        if c.allowed.is_empty() || c.allowed.iter().any(|allowed| same(allowed, value)) {
            return;
        }
        let names: Vec<String> = c
            .allowed
            .iter()
            .map(|allowed| match allowed {
                Value::String(text) => quote(text),
                other => quote(&other.to_string()),
            })
            .collect();
        let detail = format!("supported values: {}", names.join(", "));
        out.add(self.error(FieldErrorKind::NotSupported, path, value.clone(), detail));
    }

    fn string(&self, c: &Constraints, path: &Path<'_>, text: &str, out: &mut Outcome) {
        let name = || shown(path);
        let length = text.chars().count() as u64;
        if let Some(most) = c.max_length.filter(|most| length > *most) {
            out.add(FieldError::too_long(self.at(&name()), most as usize));
        } else if let Some(least) = c.min_length.filter(|least| length < *least) {
            let detail = format!("{} in body should be at least {least} chars long", name());
            out.add(self.invalid(path, text, detail));
        } else if let Some(pattern) = &c.pattern {
            let detail = match pattern.is_match(text) {
                Some(true) => None,
                Some(false) => Some(format!(
                    "{} in body should match '{}'",
                    name(),
                    pattern.as_str()
                )),
                None => Some(format!(
                    "{} in body should match '{}, but pattern is invalid'",
                    name(),
                    pattern.as_str()
                )),
            };
            if let Some(detail) = detail {
                out.add(self.invalid(path, text, detail));
            }
        }
        if let Some(format) = c.format.as_deref()
            && !super::format::has(format, text)
        {
            let detail = format!(
                "{} in body must be of type {format}: {}",
                name(),
                quote(text)
            );
            out.add(self.error(FieldErrorKind::TypeInvalid, path, text, detail));
        }
    }

    fn number(
        &self,
        kinds: &[JsonKind],
        c: &Constraints,
        path: &Path<'_>,
        number: &serde_json::Number,
        out: &mut Outcome,
    ) {
        let name = || shown(path);
        let value = || Value::Number(number.clone());
        let float = number.as_f64().unwrap_or_default();
        if kinds.contains(&JsonKind::Integer) {
            let fits = match c.format.as_deref() {
                Some("int32") => float >= f64::from(i32::MIN) && float <= f64::from(i32::MAX),
                _ => number.is_i64() || float.abs() < 9.3e18,
            };
            if !fits {
                let form = match c.format.as_deref() {
                    Some(format) => format!("with format {format}"),
                    None => "(default format)".to_owned(),
                };
                out.add(self.composite(format!(
                    "Checked value must be of type integer {form} in {}",
                    name()
                )));
            }
        }
        if let Some(step) = c.multiple_of {
            let times = float / step;
            if step <= 0.0 {
                let detail = format!(
                    "factor MultipleOf declared for {} must be positive: {step}",
                    name()
                );
                out.add(self.invalid(path, step, detail));
            } else if (times - times.round()).abs() > 1e-9 * times.abs().max(1.0) {
                let detail = format!("{} in body should be a multiple of {step}", name());
                out.add(self.invalid(path, value(), detail));
            }
        }
        if let Some(most) = c.maximum
            && (float > most || c.exclusive_maximum && float >= most)
        {
            let rule = if c.exclusive_maximum {
                "less than"
            } else {
                "less than or equal to"
            };
            let detail = format!("{} in body should be {rule} {most}", name());
            out.add(self.invalid(path, value(), detail));
        }
        if let Some(least) = c.minimum
            && (float < least || c.exclusive_minimum && float <= least)
        {
            let rule = if c.exclusive_minimum {
                "greater than"
            } else {
                "greater than or equal to"
            };
            let detail = format!("{} in body should be {rule} {least}", name());
            out.add(self.invalid(path, value(), detail));
        }
    }

    fn logic(
        &self,
        c: &'t Constraints,
        path: &Path<'_>,
        value: &Value,
        old: Option<&Value>,
        out: &mut Outcome,
    ) {
        let Some(logic) = &c.logic else {
            return;
        };
        let name = || quote(&shown(path));
        if let Some(own) = &logic.own {
            out.merge(self.nested(own, path, value, old));
        }
        if !logic.any_of.is_empty() {
            let (valid, best) = self.alternatives(&logic.any_of, path, value, old, true);
            if valid == 0 {
                out.add(self.composite(format!(
                    "{} must validate at least one schema (anyOf)",
                    name()
                )));
            }
            out.merge(best);
        }
        if !logic.one_of.is_empty() {
            let (valid, best) = self.alternatives(&logic.one_of, path, value, old, false);
            match valid {
                1 => out.merge(best),
                0 => {
                    out.add(self.composite(format!(
                        "{} must validate one and only one schema (oneOf). Found none valid",
                        name()
                    )));
                    out.merge(best);
                }
                valid => out.add(self.composite(format!(
                    "{} must validate one and only one schema (oneOf). Found {valid} valid alternatives",
                    name()
                ))),
            }
        }
        if !logic.all_of.is_empty() {
            let mut valid = 0;
            for rules in &logic.all_of {
                let one = self.nested(rules, path, value, old);
                if self.left.get() == 0 {
                    out.merge(one);
                    return;
                }
                valid += usize::from(one.is_valid());
                out.merge(one);
            }
            if valid < logic.all_of.len() {
                let more = if valid == 0 { ". None validated" } else { "" };
                out.add(self.composite(format!(
                    "{} must validate all the schemas (allOf){more}",
                    name()
                )));
            }
        }
        if let Some(not) = &logic.not
            && self.nested(not, path, value, old).is_valid()
        {
            out.add(self.composite(format!("{} must not validate the schema (not)", name())));
        }
    }

    /// How many alternatives hold (at most one when `enough`), and the outcome of the first that
    /// does, or else of the one that comes nearest.
    fn alternatives(
        &self,
        alternatives: &'t [Rules],
        path: &Path<'_>,
        value: &Value,
        old: Option<&Value>,
        enough: bool,
    ) -> (usize, Outcome) {
        let mut valid = 0;
        let mut best: Option<Outcome> = None;
        for rules in alternatives {
            let one = self.nested(rules, path, value, old);
            if self.left.get() == 0 {
                // That nothing is left has been told.
                return (1, one);
            }
            if one.is_valid() {
                valid += 1;
                if valid == 1 {
                    best = Some(one);
                }
                if enough {
                    break;
                }
            } else if valid == 0 && best.as_ref().is_none_or(|best| one.matches > best.matches) {
                best = Some(one);
            }
        }
        (valid, best.unwrap_or_default())
    }
}

/// The same value, however its number is written.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// The earlier items of a list, by their keys; none where items are not told by keys.
struct OldItems<'v, 't> {
    keys: &'t [Box<str>],
    items: HashMap<String, &'v Value>,
}

impl<'v, 't> OldItems<'v, 't> {
    fn new(kind: &'t ListKind, old: Option<&'v Value>) -> Self {
        let mut known = OldItems {
            keys: &[],
            items: HashMap::new(),
        };
        if let ListKind::Map(keys) = kind
            && let Some(items) = old.and_then(Value::as_array)
        {
            known.keys = keys;
            for item in items {
                known.items.entry(known.key(item)).or_insert(item);
            }
        }
        known
    }

    fn key(&self, item: &Value) -> String {
        let mut key = String::new();
        for name in self.keys {
            match item.get(&**name) {
                Some(value) => key += &value.to_string(),
                None => key.push('-'),
            }
            key.push(',');
        }
        key
    }

    fn find(&self, item: &Value) -> Option<&'v Value> {
        if self.items.is_empty() {
            return None;
        }
        self.items.get(&self.key(item)).copied()
    }
}
