//! The checker: gives every node a type, every name a meaning and every call its overloads. Rules and
//! messages are cel-go's.

use std::sync::Arc;

use crate::{
    ast::{Call, Comprehension, Expr, Field, Id, Kind, Literal, Select, operator},
    environment::Environment,
    functions::{self, Overload},
    parse::Parsed,
    source::Issues,
    types::{Fields, Object, Type},
};

mod literals;
mod unify;

pub(crate) use literals::check as check_literals;
use unify::Substitution;

/// A checked expression.
pub(crate) struct Checked {
    pub expr: Expr,
    pub positions: Vec<u32>,
    /// Each node's type.
    pub types: Vec<Type>,
    /// What each call may call.
    pub overloads: Vec<Vec<&'static Overload>>,
    /// Names that are types: by node, the name of the type.
    pub type_names: Vec<Option<Arc<str>>>,
}

impl Checked {
    pub fn ty(&self, expr: &Expr) -> &Type {
        self.types.get(expr.id as usize).unwrap_or(&Type::Dyn)
    }

    pub fn overloads(&self, expr: &Expr) -> &[&'static Overload] {
        self.overloads
            .get(expr.id as usize)
            .map_or(&[], Vec::as_slice)
    }
}

struct Checker<'i> {
    environment: &'i Environment,
    issues: &'i mut Issues,
    positions: Vec<u32>,
    types: Vec<Type>,
    overloads: Vec<Vec<&'static Overload>>,
    type_names: Vec<Option<Arc<str>>>,
    /// Loop variables and accumulators, the innermost last.
    scope: Vec<(Arc<str>, Type)>,
    substitution: Substitution,
}

/// Checks a parsed expression; what is wrong is reported to `issues`.
pub(crate) fn check(parsed: Parsed, environment: &Environment, issues: &mut Issues) -> Checked {
    let Parsed {
        mut expr,
        positions,
    } = parsed;
    let nodes = positions.len();
    let mut checker = Checker {
        environment,
        issues,
        positions,
        types: vec![Type::Dyn; nodes],
        overloads: vec![Vec::new(); nodes],
        type_names: vec![None; nodes],
        scope: Vec::new(),
        substitution: Substitution::default(),
    };
    checker.check(&mut expr);
    let Checker {
        positions,
        mut types,
        overloads,
        type_names,
        substitution,
        ..
    } = checker;
    for ty in &mut types {
        *ty = substitution.resolve(ty, true);
    }
    Checked {
        expr,
        positions,
        types,
        overloads,
        type_names,
    }
}

impl Checker<'_> {
    fn report(&mut self, id: Id, message: String) {
        let offset = self.positions.get(id as usize).copied();
        self.issues.report(offset, message);
    }

    fn set(&mut self, id: Id, ty: Type) {
        if let Some(own) = self.types.get_mut(id as usize) {
            *own = ty;
        }
    }

    fn get(&self, id: Id) -> Type {
        self.types.get(id as usize).cloned().unwrap_or(Type::Dyn)
    }

    fn resolved(&self, id: Id) -> Type {
        self.substitution.resolve(&self.get(id), false)
    }

    fn check(&mut self, expr: &mut Expr) {
        let id = expr.id;
        match &mut expr.kind {
            Kind::Literal(literal) => {
                let ty = match literal {
                    Literal::Null => Type::Null,
                    Literal::Bool(_) => Type::Bool,
                    Literal::Int(_) => Type::Int,
                    Literal::Uint(_) => Type::Uint,
                    Literal::Double(_) => Type::Double,
                    Literal::String(_) => Type::String,
                    Literal::Bytes(_) => Type::Bytes,
                };
                self.set(id, ty);
            }
            Kind::Ident(name) => {
                let name = name.clone();
                match self.name(id, &name) {
                    Some(ty) => {
                        if let Some(plain) = name.strip_prefix('.') {
                            expr.kind = Kind::Ident(plain.into());
                        }
                        self.set(id, ty);
                    }
                    None => {
                        self.set(id, Type::Error);
                        self.undeclared(id, &name);
                    }
                }
            }
            Kind::Select(_) => self.select(expr),
            Kind::Call(_) => self.call(expr),
            Kind::List(elements) => {
                let mut joined: Option<Type> = None;
                for element in elements {
                    self.check(&mut element.value);
                    let ty = self.present(element.value.id, element.optional);
                    joined = Some(self.join(joined, ty));
                }
                let element = joined.unwrap_or_else(|| self.substitution.fresh());
                self.set(id, Type::list(element));
            }
            Kind::Map(entries) => {
                let mut joined: Option<(Type, Type)> = None;
                for entry in entries {
                    self.check(&mut entry.key);
                    self.check(&mut entry.value);
                    let (keys, values) = joined.unzip();
                    let key = self.get(entry.key.id);
                    let key = self.join(keys, key);
                    let value = self.present(entry.value.id, entry.optional);
                    let value = self.join(values, value);
                    joined = Some((key, value));
                }
                let (key, value) = joined
                    .unwrap_or_else(|| (self.substitution.fresh(), self.substitution.fresh()));
                self.set(id, Type::map(key, value));
            }
            Kind::Struct(name, fields) => {
                let name = name.clone();
                self.construct(id, &name, fields);
            }
            Kind::Comprehension(loop_) => self.comprehension(id, loop_),
            Kind::Missing => self.set(id, Type::Error),
        }
    }

    fn undeclared(&mut self, id: Id, name: &str) {
        self.report(
            id,
            format!("undeclared reference to '{name}' (in container '')"),
        );
    }

    /// The type of a variable, or of a type's name.
    fn name(&mut self, id: Id, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, ty)) = self.scope.iter().rev().find(|(own, _)| **own == *name) {
            return Some(ty.clone());
        }
        if let Some(ty) = self.environment.variable(name) {
            return Some(ty.clone());
        }
        let ty = functions::type_named(name, self.environment)?;
        if let Some(own) = self.type_names.get_mut(id as usize) {
            *own = Some(ty.kind_name().into());
        }
        Some(Type::Type(Some(Arc::new(ty))))
    }

    /// A value's type; that of what is in it where the value is given as optional.
    fn present(&mut self, id: Id, optional: bool) -> Type {
        let ty = self.get(id);
        if !optional {
            return ty;
        }
        match ty {
            Type::Optional(inner) => Type::clone(&inner),
            ty if ty.is_dyn() => ty,
            ty => {
                self.mismatch(id, &Type::optional(ty.clone()), &ty);
                ty
            }
        }
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.report(
            id,
            format!("expected type '{expected}' but found '{found}'"),
        );
    }

    /// The type of both. That literals hold values of one type is checked once all types are known, for
    /// what `format` is given may differ.
    fn join(&mut self, before: Option<Type>, now: Type) -> Type {
        let Some(before) = before else {
            return now;
        };
        if self.substitution.assign(&before, &now) {
            return unify::more_general(before, now);
        }
        Type::Dyn
    }

    fn select(&mut self, expr: &mut Expr) {
        let id = expr.id;
        if let Some(name) = expr.qualified_name()
            && let Some(ty) = self.name(id, &name)
        {
            let name = name.strip_prefix('.').unwrap_or(&name);
            expr.kind = Kind::Ident(name.into());
            self.set(id, ty);
            return;
        }
        let Kind::Select(select) = &mut expr.kind else {
            return;
        };
        let Select {
            operand,
            field,
            test,
        } = &mut **select;
        let ty = self.field(id, operand, field, false);
        let ty = if *test { Type::Bool } else { ty };
        let ty = self.substitution.resolve(&ty, false);
        self.set(id, ty);
    }

    /// The type of a field of what `operand` is.
    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let of = self.resolved(operand.id);
        let (target, is_optional) = match of {
            Type::Optional(inner) => (Type::clone(&inner), true),
            other => (other, false),
        };
        let ty = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(object) => match target.field(field) {
                Some(ty) => ty,
                None => {
                    let reserved = keyword_field(object, field);
                    reserved.unwrap_or_else(|| {
                        self.report(id, format!("undefined field '{field}'"));
                        Type::Error
                    })
                }
            },
            // These are object types without fields upstream; addresses are not objects at all.
            Type::Opaque(opaque) if opaque.name().starts_with("kubernetes.") => {
                self.report(id, format!("undefined field '{field}'"));
                Type::Error
            }
            Type::Var(_) => {
                self.substitution.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.report(
                        id,
                        format!("type '{other}' does not support field selection"),
                    );
                }
                Type::Dyn
            }
        };
        if is_optional || optional {
            Type::optional(ty)
        } else {
            ty
        }
    }

    fn call(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call(call) = &mut expr.kind else {
            return;
        };
        if *call.function == *operator::OPTIONAL_SELECT {
            self.optional_select(id, call);
            return;
        }
        for arg in &mut call.args {
            self.check(arg);
        }
        let Some(target) = &mut call.target else {
            let name: Arc<str> = match call.function.strip_prefix('.') {
                Some(name) => name.into(),
                None => call.function.clone(),
            };
            match self.environment.function(&name) {
                Some(found) => {
                    call.function = name;
                    self.pick(id, call, &found);
                }
                None => {
                    self.undeclared(id, &name);
                    self.set(id, Type::Error);
                }
            }
            return;
        };
        // A dotted function: `optional.of`, `sets.contains`.
        if let Some(prefix) = target.qualified_name() {
            let full = format!(
                "{}.{}",
                prefix.strip_prefix('.').unwrap_or(&prefix),
                call.function
            );
            if let Some(found) = self.environment.function(&full) {
                call.target = None;
                call.function = full.into();
                self.pick(id, call, &found);
                return;
            }
        }
        self.check(target);
        match self.environment.function(&call.function) {
            Some(found) => self.pick(id, call, &found),
            None => {
                let name = call.function.clone();
                self.set(id, Type::Error);
                self.undeclared(id, &name);
            }
        }
    }

    fn optional_select(&mut self, id: Id, call: &mut Call) {
        let [operand, field] = call.args.as_mut_slice() else {
            return;
        };
        let Kind::Literal(Literal::String(name)) = &field.kind else {
            return;
        };
        let name = name.clone();
        let ty = self.field(id, operand, &name, true);
        let ty = self.substitution.resolve(&ty, false);
        self.set(field.id, Type::String);
        self.set(id, ty);
    }

    /// Settles which overloads a call may mean, and what it gives.
    fn pick(&mut self, id: Id, call: &Call, found: &functions::Found<'_>) {
        let args: Vec<Id> = call.target.iter().chain(&call.args).map(|e| e.id).collect();
        let given: Vec<Type> = args.iter().map(|arg| self.get(*arg)).collect();
        if matches!(&*call.function, operator::AND | operator::OR) {
            let mut wrong = false;
            for (arg, ty) in args.iter().zip(&given) {
                if !self.substitution.assign(ty, &Type::Bool) {
                    self.mismatch(*arg, &Type::Bool, ty);
                    wrong = true;
                }
            }
            if wrong {
                self.set(id, Type::Error);
                return;
            }
            self.overloads[id as usize] = found.overloads().take(1).collect();
            self.set(id, Type::Bool);
            return;
        }
        let mut result: Option<Type> = None;
        let mut fitting = Vec::new();
        for overload in found.overloads() {
            if overload.member != call.target.is_some() || overload.params.len() != given.len() {
                continue;
            }
            let (params, returned) = self.substitution.instantiate(overload);
            if !self.substitution.assign_all(&given, &params) {
                continue;
            }
            fitting.push(overload);
            let returned = self.substitution.resolve(&returned, false);
            result = Some(match result {
                None => returned,
                Some(before) if before.is_dyn() || returned.same(&before) => before,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(ty) => {
                if let Some(own) = self.overloads.get_mut(id as usize) {
                    *own = fitting;
                }
                self.set(id, ty);
            }
            None => {
                let given: Vec<String> = given
                    .iter()
                    .map(|ty| self.substitution.resolve(ty, true).to_string())
                    .collect();
                let applied = match (&call.target, given.split_first()) {
                    (Some(_), Some((target, rest))) => format!("{target}.({})", rest.join(", ")),
                    _ => format!("({})", given.join(", ")),
                };
                self.report(
                    id,
                    format!(
                        "found no matching overload for '{}' applied to '{applied}'",
                        call.function
                    ),
                );
                self.set(id, Type::Error);
            }
        }
    }

    fn construct(&mut self, id: Id, name: &str, fields: &mut [Field]) {
        let plain = name.strip_prefix('.').unwrap_or(name);
        let made = match self.name(id, plain) {
            Some(Type::Type(Some(of))) => match &*of {
                Type::Object(_) => Type::clone(&of),
                other => {
                    let message = format!("'{}' is not a message type", other.kind_name());
                    self.report(id, message);
                    Type::Error
                }
            },
            Some(other) => {
                let message = format!("'{}' is not a type", other.kind_name());
                self.report(id, message);
                Type::Error
            }
            None => {
                self.undeclared(id, name);
                self.set(id, Type::Error);
                return;
            }
        };
        self.set(id, made.clone());
        for field in fields {
            self.check(&mut field.value);
            let wanted = match &made {
                Type::Object(_) => match made.field(&field.name) {
                    Some(ty) => ty,
                    None => {
                        let message = format!("undefined field '{}'", field.name);
                        self.report(field.id, message);
                        Type::Error
                    }
                },
                _ => Type::Error,
            };
            let given = self.present(field.value.id, field.optional);
            if !self.substitution.assign(&wanted, &given) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{given}'",
                    field.name
                );
                self.report(field.id, message);
            }
        }
    }

    fn comprehension(&mut self, id: Id, loop_: &mut Comprehension) {
        self.check(&mut loop_.range);
        self.check(&mut loop_.init);
        let range = self.resolved(loop_.range.id);
        let accumulated = self.get(loop_.init.id);
        let depth = self.scope.len();
        self.scope
            .push((loop_.accumulator.clone(), accumulated.clone()));
        let two = loop_.second.is_some();
        let (first, second) = match &range {
            Type::List(element) if two => (Type::Int, Type::clone(element)),
            Type::List(element) => (Type::clone(element), Type::Dyn),
            Type::Map(entry) => entry.as_ref().clone(),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.substitution.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report(loop_.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.scope.push((loop_.variable.clone(), first));
        if let Some(name) = &loop_.second {
            self.scope.push((name.clone(), second));
        }
        self.check(&mut loop_.condition);
        self.assert(loop_.condition.id, &Type::Bool);
        self.check(&mut loop_.step);
        self.assert(loop_.step.id, &accumulated);
        self.scope.truncate(depth + 1);
        self.check(&mut loop_.result);
        self.scope.truncate(depth);
        let ty = self.resolved(loop_.result.id);
        self.set(id, ty);
    }

    fn assert(&mut self, id: Id, wanted: &Type) {
        let given = self.get(id);
        if !self.substitution.assign(wanted, &given) {
            self.mismatch(id, wanted, &given);
        }
    }
}

/// A field whose name is a reserved word may be written as it is, where no ambiguity arises.
fn keyword_field(object: &Object, field: &str) -> Option<Type> {
    let escaped = crate::escape::escape(field).filter(|escaped| **escaped != *field)?;
    match &object.fields {
        Fields::Declared(declared) => declared.field(&escaped).map(|f| f.ty().clone()),
        _ => None,
    }
}
