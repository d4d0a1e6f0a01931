//! Type variables and what they stand for; whether a type goes where another is wanted.

use std::sync::Arc;

use crate::{functions::Overload, types::Type};

/// What type variables stand for. Assignments that fail leave no trace.
#[derive(Default)]
pub(super) struct Substitution {
    bound: Vec<Option<Type>>,
    /// What was bound, with what it was bound to before.
    trail: Vec<(u32, Option<Type>)>,
}

impl Substitution {
    /// A new variable.
    pub fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Var(self.bound.len() as u32 - 1)
    }

    fn binding(&self, variable: u32) -> Option<&Type> {
        self.bound.get(variable as usize)?.as_ref()
    }

    fn bind(&mut self, variable: u32, ty: Type) {
        if let Some(own) = self.bound.get_mut(variable as usize) {
            self.trail.push((variable, own.replace(ty)));
        }
    }

    /// The overload's parameters and result, with new variables for its type parameters.
    pub fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        if !overload.generic {
            return (overload.params.clone(), overload.result.clone());
        }
        let fresh = [self.fresh(), self.fresh()];
        let replaced = |ty: &Type| replace(ty, &fresh);
        (
            overload.params.iter().map(replaced).collect(),
            replaced(&overload.result),
        )
    }

    /// The type with variables replaced by what they stand for; those that stand for nothing by `dyn`
    /// where that is asked.
    pub fn resolve(&self, ty: &Type, to_dyn: bool) -> Type {
        match ty {
            Type::Var(variable) => match self.binding(*variable) {
                Some(bound) => self.resolve(bound, to_dyn),
                None if to_dyn => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(of) => Type::list(self.resolve(of, to_dyn)),
            Type::Optional(of) => Type::optional(self.resolve(of, to_dyn)),
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.resolve(of, to_dyn)))),
            Type::Map(entry) => Type::map(
                self.resolve(&entry.0, to_dyn),
                self.resolve(&entry.1, to_dyn),
            ),
            other => other.clone(),
        }
    }

    /// May `b` stand where `a` is wanted, or the other way round where types are not settled?
    pub fn assign(&mut self, a: &Type, b: &Type) -> bool {
        self.trail.clear();
        let fits = self.goes(a, b);
        self.settle(fits)
    }

    /// As [`Substitution::assign`], for all pairs or none.
    pub fn assign_all(&mut self, a: &[Type], b: &[Type]) -> bool {
        self.trail.clear();
        let fits = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.goes(a, b));
        self.settle(fits)
    }

    fn settle(&mut self, fits: bool) -> bool {
        if !fits {
            while let Some((variable, before)) = self.trail.pop() {
                self.bound[variable as usize] = before;
            }
        }
        fits
    }

    fn goes(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Var(variable) = b {
            match self.stands_for(a, b, *variable) {
                Some(true) => return true,
                Some(false) => return false,
                None => {}
            }
        }
        if let Type::Var(variable) = a {
            return self.stands_for(b, a, *variable) == Some(true);
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Optional(_)
                    | Type::Opaque(_)
                    | Type::Object(_)
                    | Type::Duration
                    | Type::Timestamp
            ),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
                self.goes(a, b)
            }
            (Type::Map(a), Type::Map(b)) => self.goes(&a.0, &b.0) && self.goes(&a.1, &b.1),
            (a, b) => a.same(b),
        }
    }

    /// Can the variable stand for the type? None where it cannot but stands for nothing else either.
    fn stands_for(&mut self, ty: &Type, own: &Type, variable: u32) -> Option<bool> {
        if ty.same(own) {
            return Some(true);
        }
        if let Some(bound) = self.binding(variable).cloned() {
            if ty.same(&bound) {
                return Some(true);
            }
            if !self.goes(ty, &bound) {
                return Some(false);
            }
            let general = more_general(ty.clone(), bound);
            if self.is_free_of(&general, own) {
                self.bind(variable, general);
            }
            return Some(true);
        }
        if self.is_free_of(ty, own) {
            self.bind(variable, ty.clone());
            return Some(true);
        }
        None
    }

    /// Does the type not mention the variable?
    fn is_free_of(&self, ty: &Type, variable: &Type) -> bool {
        if ty.same(variable) {
            return false;
        }
        match ty {
            Type::Var(own) => self
                .binding(*own)
                .is_none_or(|bound| self.is_free_of(bound, variable)),
            Type::List(of) | Type::Optional(of) | Type::Type(Some(of)) => {
                self.is_free_of(of, variable)
            }
            Type::Map(entry) => {
                self.is_free_of(&entry.0, variable) && self.is_free_of(&entry.1, variable)
            }
            _ => true,
        }
    }
}

fn replace(ty: &Type, fresh: &[Type; 2]) -> Type {
    match ty {
        Type::Param(place) => fresh[usize::from(*place).min(1)].clone(),
        Type::List(of) => Type::list(replace(of, fresh)),
        Type::Optional(of) => Type::optional(replace(of, fresh)),
        Type::Type(Some(of)) => Type::Type(Some(Arc::new(replace(of, fresh)))),
        Type::Map(entry) => Type::map(replace(&entry.0, fresh), replace(&entry.1, fresh)),
        other => other.clone(),
    }
}

/// The one of two types that goes with more values.
pub(super) fn more_general(a: Type, b: Type) -> Type {
    if covers(&a, &b) { a } else { b }
}

fn covers(a: &Type, b: &Type) -> bool {
    if matches!(a, Type::Dyn | Type::Var(_)) {
        return true;
    }
    if matches!(b, Type::Dyn | Type::Var(_)) {
        return false;
    }
    match (a, b) {
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => covers(a, b),
        (Type::Map(a), Type::Map(b)) => covers(&a.0, &b.0) && covers(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        (a, b) => a.same(b),
    }
}
