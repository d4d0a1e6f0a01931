//! The expression tree, as the parser makes it with macros expanded.

use std::sync::Arc;

/// A node's number: its place in the tables of positions, types and references.
pub(crate) type Id = u32;

/// What macros call the value they build up.
pub(crate) const ACCUMULATOR: &str = "@result";
/// The loop variable of comprehensions that loop over nothing.
pub(crate) const UNUSED: &str = "#unused";

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub id: Id,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(Arc<str>),
    Select(Box<Select>),
    Call(Box<Call>),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct(Arc<str>, Vec<Field>),
    Comprehension(Box<Comprehension>),
    /// Where an error was reported.
    Missing,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub operand: Expr,
    pub field: Arc<str>,
    /// Whether it is there (`has`), not what it is.
    pub test: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub function: Arc<str>,
    pub target: Option<Expr>,
    pub args: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub id: Id,
    pub name: Arc<str>,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Comprehension {
    pub range: Expr,
    pub variable: Arc<str>,
    pub second: Option<Arc<str>>,
    pub accumulator: Arc<str>,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Comprehension {
    /// Names a value for the result's sake: loops over nothing.
    pub fn is_binding(&self) -> bool {
        matches!(&self.range.kind, Kind::List(elements) if elements.is_empty())
            && matches!(self.condition.kind, Kind::Literal(Literal::Bool(false)))
    }
}

/// Operators are functions with names of their own.
pub(crate) mod operator {
    pub const CONDITIONAL: &str = "_?_:_";
    pub const AND: &str = "_&&_";
    pub const OR: &str = "_||_";
    pub const NOT: &str = "!_";
    pub const EQUALS: &str = "_==_";
    pub const NOT_EQUALS: &str = "_!=_";
    pub const ADD: &str = "_+_";
    pub const NEGATE: &str = "-_";
    pub const INDEX: &str = "_[_]";
    pub const OPTIONAL_INDEX: &str = "_[?_]";
    pub const OPTIONAL_SELECT: &str = "_?._";
    pub const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
}

impl Expr {
    /// `a.b.c` as a dotted name, where it is nothing but names.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select(select) if !select.test => {
                let mut name = select.operand.qualified_name()?;
                name.push('.');
                name.push_str(&select.field);
                Some(name)
            }
            _ => None,
        }
    }

    /// Calls `visit` on each direct child.
    pub fn children<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Missing => {}
            Kind::Select(select) => visit(&select.operand),
            Kind::Call(call) => {
                if let Some(target) = &call.target {
                    visit(target);
                }
                call.args.iter().for_each(visit);
            }
            Kind::List(elements) => elements.iter().for_each(|e| visit(&e.value)),
            Kind::Map(entries) => {
                for entry in entries {
                    visit(&entry.key);
                    visit(&entry.value);
                }
            }
            Kind::Struct(_, fields) => fields.iter().for_each(|field| visit(&field.value)),
            Kind::Comprehension(loop_) => {
                for part in [
                    &loop_.range,
                    &loop_.init,
                    &loop_.condition,
                    &loop_.step,
                    &loop_.result,
                ] {
                    visit(part);
                }
            }
        }
    }
}
