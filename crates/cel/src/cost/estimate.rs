//! What a checked expression can cost at most: each node's cost from its children's, with the sizes
//! texts and collections can have traced through selections, loops and calls. cel-go's `checker.Cost`.

use std::collections::HashMap;

use super::{
    SizeHints, calls,
    range::{CostRange, Size},
};
use crate::{
    ast::{ACCUMULATOR, Call, Comprehension, Expr, Id, Kind, Literal, operator},
    check::Checked,
    limits::{LIST, MAP, SELECT, STRUCT},
    types::Type,
};

/// Sizes of a collection's keys and values.
#[derive(Clone, Copy)]
struct Entries {
    is_list: bool,
    key: Size,
    value: Size,
}

/// What is known of a variable within a loop.
#[derive(Clone)]
struct Local {
    path: Vec<String>,
    size: Option<Size>,
    entries: Option<Entries>,
}

/// What is known of a call's argument.
pub(super) struct Operand<'c> {
    pub path: Vec<String>,
    pub ty: Type,
    pub expr: Option<&'c Expr>,
    pub size: Option<Size>,
}

impl Operand<'_> {
    /// The whole number it is, where it is written out.
    pub fn whole(&self) -> Option<u64> {
        match &self.expr?.kind {
            Kind::Literal(Literal::Int(value)) => Some(u64::try_from(*value).unwrap_or(0)),
            _ => None,
        }
    }
}

/// A call's cost, and the size of what it gives where that is known.
pub(super) struct Estimate {
    pub cost: CostRange,
    pub size: Option<Size>,
}

struct Coster<'c> {
    checked: &'c Checked,
    sizes: &'c dyn SizeHints,
    paths: HashMap<Id, Vec<String>>,
    known: HashMap<Id, Size>,
    entries: HashMap<Id, Entries>,
    locals: HashMap<&'c str, Vec<Local>>,
}

/// The range of what the expression can cost.
pub(crate) fn estimate(checked: &Checked, sizes: &dyn SizeHints) -> CostRange {
    let mut coster = Coster {
        checked,
        sizes,
        paths: HashMap::new(),
        known: HashMap::new(),
        entries: HashMap::new(),
        locals: HashMap::new(),
    };
    coster.cost(&checked.expr)
}

fn step(path: &[String], next: &str) -> Vec<String> {
    let mut path = path.to_vec();
    path.push(next.to_owned());
    path
}

impl<'c> Coster<'c> {
    fn cost(&mut self, expr: &'c Expr) -> CostRange {
        match &expr.kind {
            Kind::Literal(_) | Kind::Missing => CostRange::fixed(0),
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![name.to_string()],
                };
                self.paths.insert(expr.id, path);
                CostRange::fixed(SELECT)
            }
            Kind::Select(select) => {
                let cost = self.cost(&select.operand);
                if select.test {
                    return cost;
                }
                let path = step(&self.path(&select.operand), &select.field);
                self.paths.insert(expr.id, path);
                match self.checked.ty(&select.operand) {
                    Type::Map(_) | Type::Object(_) | Type::Var(_) => {
                        cost.plus(CostRange::fixed(SELECT))
                    }
                    _ => cost,
                }
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements) => {
                let mut sum = CostRange::default();
                let mut size: Option<Size> = None;
                for element in elements {
                    sum = sum.plus(self.cost(&element.value));
                    let own = self.size_or_unknown(&element.value);
                    size = Some(size.map_or(own, |size| size.or(own)));
                }
                self.entries.insert(
                    expr.id,
                    Entries {
                        is_list: true,
                        key: Size::fixed(1),
                        value: size.unwrap_or_default(),
                    },
                );
                sum.plus(CostRange::fixed(LIST))
            }
            Kind::Map(entries) => {
                let mut sum = CostRange::default();
                let mut sizes: Option<(Size, Size)> = None;
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key));
                    sum = sum.plus(self.cost(&entry.value));
                    let key = self.size_or_unknown(&entry.key);
                    let value = self.size_or_unknown(&entry.value);
                    sizes = Some(match sizes {
                        Some((keys, values)) => (keys.or(key), values.or(value)),
                        None => (key, value),
                    });
                }
                let (key, value) = sizes.unwrap_or_default();
                self.entries.insert(
                    expr.id,
                    Entries {
                        is_list: false,
                        key,
                        value,
                    },
                );
                sum.plus(CostRange::fixed(MAP))
            }
            Kind::Struct(_, fields) => {
                let sum = fields.iter().fold(CostRange::default(), |sum, field| {
                    sum.plus(self.cost(&field.value))
                });
                sum.plus(CostRange::fixed(STRUCT))
            }
            Kind::Comprehension(loop_) if loop_.is_binding() => {
                let cost = self.cost(&loop_.range).plus(self.cost(&loop_.init));
                self.push_value(&loop_.accumulator, &loop_.init);
                let cost = cost.plus(self.cost(&loop_.result));
                self.pop(&loop_.accumulator);
                self.copy_sizes(expr, &loop_.result);
                cost
            }
            Kind::Comprehension(loop_) => self.comprehension(expr, loop_),
        }
    }

    fn comprehension(&mut self, expr: &'c Expr, loop_: &'c Comprehension) -> CostRange {
        let mut sum = self.cost(&loop_.range).plus(self.cost(&loop_.init));
        self.push_value(&loop_.accumulator, &loop_.init);
        match &loop_.second {
            None => self.push_item(&loop_.variable, &loop_.range),
            Some(second) => {
                self.push_part(&loop_.variable, &loop_.range, true);
                self.push_part(second, &loop_.range, false);
            }
        }
        let turn = self.cost(&loop_.condition).plus(self.cost(&loop_.step));
        self.pop(&loop_.variable);
        if let Some(second) = &loop_.second {
            self.pop(second);
        }
        sum = sum.plus(self.cost(&loop_.result));
        self.pop(&loop_.accumulator);
        let turns = self.size_or_unknown(&loop_.range);
        sum = sum.plus(turns.times(turn));
        match &loop_.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&loop_.init) {
                    self.known.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.known.insert(expr.id, turns);
                if let Some(entries) = self.entries_of(&loop_.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn call(&mut self, expr: &'c Expr, call: &'c Call) -> CostRange {
        if let ("dyn", [arg]) = (&*call.function, call.args.as_slice()) {
            let cost = self.cost(arg);
            self.copy_sizes(expr, arg);
            return cost.plus(CostRange::fixed(1));
        }
        let mut costs = Vec::with_capacity(call.args.len());
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            costs.push(self.cost(arg));
            args.push(self.operand(arg));
        }
        let checked = self.checked;
        let overloads = checked.overloads(expr);
        if overloads.is_empty() && *call.function != *operator::OPTIONAL_SELECT {
            return CostRange::default();
        }
        let mut sum = CostRange::default();
        let target = call.target.as_ref().map(|target| {
            sum = sum.plus(self.cost(target));
            self.operand(target)
        });
        let ids: Vec<&str> = match overloads {
            [] => vec!["select_optional_field"],
            own => own.iter().map(|overload| overload.id).collect(),
        };
        let mut cost: Option<CostRange> = None;
        let mut size: Option<Size> = None;
        for id in ids {
            let estimate = self.overload(expr, call, id, target.as_ref(), &args, &costs);
            cost = Some(cost.map_or(estimate.cost, |cost| cost.or(estimate.cost)));
            if let Some(own) = estimate.size {
                size = Some(size.map_or(own, |size| size.or(own)));
            }
            let below = match id {
                "index_list" => "@items",
                "index_map" => "@values",
                _ => "",
            };
            if let (false, Some(first)) = (below.is_empty(), call.args.first()) {
                size = self.entries_of(first).map(|entries| entries.value);
                let path = step(&self.path(first), below);
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.known.insert(expr.id, size);
        }
        sum.plus(cost.unwrap_or_default())
    }

    fn overload(
        &mut self,
        expr: &'c Expr,
        call: &'c Call,
        id: &str,
        target: Option<&Operand<'c>>,
        args: &[Operand<'c>],
        costs: &[CostRange],
    ) -> Estimate {
        let all = costs
            .iter()
            .fold(CostRange::default(), |sum, cost| sum.plus(*cost));
        if let Some(estimate) = calls::extension(id, target, args, self.sizes)
            .or_else(|| calls::library(&call.function, id, target, args, self.sizes))
        {
            return Estimate {
                cost: estimate.cost.plus(all),
                ..estimate
            };
        }
        match (id, costs) {
            ("logical_or" | "logical_and", [left, right]) => {
                return Estimate {
                    cost: CostRange {
                        min: left.min,
                        max: left.plus(*right).max,
                    },
                    size: None,
                };
            }
            ("conditional", [condition, yes, no]) => {
                let size = or_unknown(&args[1]).or(or_unknown(&args[2]));
                if let Some(entries) = self.joined_entries(&call.args[1], &call.args[2]) {
                    self.entries.insert(expr.id, entries);
                }
                return Estimate {
                    cost: condition.plus(yes.or(*no)),
                    size: Some(size),
                };
            }
            ("add_string" | "add_bytes" | "add_list", [_, _]) => {
                if let Some(entries) = self.joined_entries(&call.args[0], &call.args[1]) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        let own = calls::standard(id, target, args);
        Estimate {
            cost: own.cost.plus(all),
            ..own
        }
    }

    fn joined_entries(&self, a: &Expr, b: &Expr) -> Option<Entries> {
        let (a, b) = (self.entries_of(a)?, self.entries_of(b)?);
        Some(Entries {
            is_list: a.is_list,
            key: a.key.or(b.key),
            value: a.value.or(b.value),
        })
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name)?.last()
    }

    fn push(&mut self, name: &'c str, local: Local) {
        self.locals.entry(name).or_default().push(local);
    }

    fn pop(&mut self, name: &str) {
        if let Some(stack) = self.locals.get_mut(name) {
            stack.pop();
        }
    }

    /// A name for a value.
    fn push_value(&mut self, name: &'c str, value: &'c Expr) {
        let local = Local {
            path: self.path(value),
            size: self.size(value),
            entries: self.entries_of(value),
        };
        self.push(name, local);
    }

    fn is_list(&self, range: &Expr, entries: Option<Entries>) -> bool {
        entries.map_or_else(
            || matches!(self.checked.ty(range), Type::List(_)),
            |entries| entries.is_list,
        )
    }

    /// The variable of a loop with one: a list's items, a map's keys.
    fn push_item(&mut self, name: &'c str, range: &'c Expr) {
        let entries = self.entries_of(range);
        let is_list = self.is_list(range, entries);
        let local = Local {
            path: step(&self.path(range), if is_list { "@items" } else { "@keys" }),
            size: entries.map(|entries| if is_list { entries.value } else { entries.key }),
            entries: None,
        };
        self.push(name, local);
    }

    /// A variable of a loop with two.
    fn push_part(&mut self, name: &'c str, range: &'c Expr, key: bool) {
        let entries = self.entries_of(range);
        let below = match (self.is_list(range, entries), key) {
            (true, true) => "@indices",
            (true, false) => "@items",
            (false, true) => "@keys",
            (false, false) => "@values",
        };
        let local = Local {
            path: step(&self.path(range), below),
            size: entries.map(|entries| if key { entries.key } else { entries.value }),
            entries: None,
        };
        self.push(name, local);
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn operand(&mut self, expr: &'c Expr) -> Operand<'c> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|first| first == ACCUMULATOR) {
            path.clear();
        }
        Operand {
            path,
            ty: self.checked.ty(expr).clone(),
            expr: Some(expr),
            size: self.size(expr),
        }
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Size {
        self.size(expr).unwrap_or(Size::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Size> {
        if let Some(size) = self.known.get(&expr.id) {
            return Some(*size);
        }
        let written = match &expr.kind {
            Kind::Literal(Literal::String(text)) => Some(text.chars().count() as u64),
            Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len() as u64),
            Kind::Literal(_) => Some(1),
            Kind::List(elements) => Some(elements.len() as u64),
            Kind::Map(entries) => Some(entries.len() as u64),
            _ => None,
        };
        if let Some(size) = written {
            return Some(Size::fixed(size));
        }
        let path = self.path(expr);
        if !path.is_empty()
            && let Some(most) = self.sizes.most(&path)
        {
            let size = Size { min: 0, max: most };
            self.known.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.checked.ty(expr)) {
            return Some(Size::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.known.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }
}

/// The operand's size, or any.
pub(super) fn or_unknown(operand: &Operand<'_>) -> Size {
    operand.size.unwrap_or(Size::UNKNOWN)
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}
