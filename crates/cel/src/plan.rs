//! The plan of an evaluation: names become places, constants are folded, patterns compiled, and what
//! each call costs is settled as far as it can be. Folding follows upstream's, for it decides what an
//! evaluation costs.

use std::{collections::HashSet, sync::Arc};

use regex::Regex;

use crate::{
    ast::{ACCUMULATOR, Call, Comprehension, Expr, Kind, Literal, operator},
    check::Checked,
    cost::Price,
    functions::{Args, Function, Overload, regexp},
    value::{Fault, List, Map, Text, Value},
};

/// What is evaluated.
pub(crate) struct Plan {
    pub root: Node,
    /// Variables read, by place.
    pub globals: Vec<Box<str>>,
    /// Loop variables and accumulators needed at once.
    pub locals: usize,
    /// How deep the nodes nest.
    pub depth: usize,
}

pub(crate) enum Node {
    Const(Value<'static>),
    /// A variable or value, and what is selected of it.
    Attribute(Box<Attribute>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    NotStrictlyFalse(Box<Node>),
    Equal(Box<[Node; 2]>, bool),
    Call(Box<Invocation>),
    /// Membership in a constant list of plain values.
    Within(Box<Node>, HashSet<Plain>),
    /// `or` and `orValue` (which unwraps).
    OptionalOr(Box<[Node; 2]>, bool),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Struct(Arc<str>, Vec<(Arc<str>, Node, bool)>),
    Fold(Box<Fold>),
    /// Adds a list to the accumulator in its place.
    Append(usize, Box<Node>),
    /// Puts a key with its value (or a map) into the accumulator in its place.
    Insert(usize, Vec<Node>),
}

pub(crate) struct Attribute {
    pub root: Root,
    pub qualifiers: Vec<Qualifier>,
    /// Whether the last is there (`has`).
    pub test: bool,
}

pub(crate) enum Root {
    Global(usize),
    Local(usize),
    Node(Node),
    Conditional(Box<(Node, Attribute, Attribute)>),
}

pub(crate) struct Qualifier {
    pub by: By,
    pub optional: bool,
}

pub(crate) enum By {
    Const(Value<'static>),
    Attribute(Attribute),
    Node(Node),
}

pub(crate) struct Invocation {
    pub code: Code,
    pub args: Vec<Node>,
    pub price: Price,
    pub regex: Option<Regex>,
}

pub(crate) enum Code {
    One(Function),
    /// Picked among by the values.
    Many(Vec<&'static Overload>),
}

pub(crate) struct Fold {
    pub range: Node,
    pub init: Node,
    pub accumulator: usize,
    pub variable: usize,
    pub second: Option<usize>,
    /// Loops over nothing: only names a value for the result.
    pub binding: bool,
    pub condition: Node,
    pub step: Node,
    pub result: Node,
}

/// A value that can be looked up in a set.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum Plain {
    Bool(bool),
    Whole(i128),
    Double(u64),
    Text(Box<str>),
}

impl Plain {
    /// Numbers of different kinds are the same where they are worth the same.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Plain::Bool(*value),
            Value::Int(value) => Plain::Whole(i128::from(*value)),
            Value::Uint(value) => Plain::Whole(i128::from(*value)),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => {
                Plain::Whole(*value as i128)
            }
            Value::Double(value) => Plain::Double(value.to_bits()),
            Value::String(text) => Plain::Text(text.as_str().into()),
            _ => return None,
        })
    }
}

struct Planner<'c> {
    checked: &'c Checked,
    globals: Vec<Box<str>>,
    /// Names in scope, the innermost last, each at the place of its number.
    scope: Vec<Arc<str>>,
    locals: usize,
    depth: usize,
    deepest: usize,
}

/// Plans a checked expression; the fault is that of a constant part that cannot be evaluated.
pub(crate) fn plan(checked: &Checked) -> Result<Plan, Fault> {
    let mut planner = Planner {
        checked,
        globals: Vec::new(),
        scope: Vec::new(),
        locals: 0,
        depth: 0,
        deepest: 0,
    };
    let root = planner.plan(&checked.expr)?;
    Ok(Plan {
        root,
        globals: planner.globals,
        locals: planner.locals,
        depth: planner.deepest,
    })
}

fn literal(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Shared(text.clone())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

impl Node {
    fn constant(&self) -> Option<&Value<'static>> {
        match self {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }

    /// The attribute it is, or one that begins with it.
    fn into_attribute(self) -> Attribute {
        match self {
            Node::Attribute(attribute) => *attribute,
            node => Attribute {
                root: Root::Node(node),
                qualifiers: Vec::new(),
                test: false,
            },
        }
    }

    fn local(&self) -> Option<usize> {
        match self {
            Node::Attribute(attribute) if attribute.qualifiers.is_empty() => match attribute.root {
                Root::Local(place) => Some(place),
                _ => None,
            },
            _ => None,
        }
    }
}

fn attribute(root: Root) -> Node {
    Node::Attribute(Box::new(Attribute {
        root,
        qualifiers: Vec::new(),
        test: false,
    }))
}

impl Planner<'_> {
    fn plan(&mut self, expr: &Expr) -> Result<Node, Fault> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let node = self.node(expr);
        self.depth -= 1;
        node
    }

    fn node(&mut self, expr: &Expr) -> Result<Node, Fault> {
        Ok(match &expr.kind {
            Kind::Literal(own) => Node::Const(literal(own)),
            Kind::Ident(name) => self.name(expr, name),
            Kind::Select(select) => {
                let operand = self.plan(&select.operand)?;
                let mut attribute = operand.into_attribute();
                attribute.qualifiers.push(Qualifier {
                    by: By::Const(Value::String(Text::Shared(select.field.clone()))),
                    optional: false,
                });
                attribute.test = select.test;
                Node::Attribute(Box::new(attribute))
            }
            Kind::Call(call) => self.call(expr, call)?,
            Kind::List(elements) => {
                let mut planned = Vec::with_capacity(elements.len());
                for element in elements {
                    planned.push((self.plan(&element.value)?, element.optional));
                }
                let constants: Option<Vec<Value<'static>>> = planned
                    .iter()
                    .map(|(node, optional)| node.constant().filter(|_| !optional).cloned())
                    .collect();
                match constants {
                    Some(values) => Node::Const(Value::List(List::owned(values))),
                    None => Node::List(planned),
                }
            }
            Kind::Map(entries) => {
                let mut planned = Vec::with_capacity(entries.len());
                for entry in entries {
                    let key = self.plan(&entry.key)?;
                    let value = self.plan(&entry.value)?;
                    planned.push((key, value, entry.optional));
                }
                match constant_map(&planned) {
                    Some(map) => Node::Const(Value::Map(map)),
                    None => Node::Map(planned),
                }
            }
            Kind::Struct(name, fields) => {
                let mut planned = Vec::with_capacity(fields.len());
                for field in fields {
                    let value = self.plan(&field.value)?;
                    planned.push((field.name.clone(), value, field.optional));
                }
                let name = name.strip_prefix('.').map_or(name.clone(), Arc::from);
                Node::Struct(name, planned)
            }
            Kind::Comprehension(loop_) => self.fold(loop_)?,
            Kind::Missing => return Err(Fault::new("unsupported expression")),
        })
    }

    fn name(&mut self, expr: &Expr, name: &Arc<str>) -> Node {
        if let Some(place) = self.scope.iter().rposition(|own| own == name) {
            return attribute(Root::Local(place));
        }
        if let Some(Some(ty)) = self.checked.type_names.get(expr.id as usize) {
            return Node::Const(Value::Type(ty.clone()));
        }
        let place = self.globals.iter().position(|own| **own == **name);
        let place = place.unwrap_or_else(|| {
            self.globals.push(name.as_ref().into());
            self.globals.len() - 1
        });
        attribute(Root::Global(place))
    }

    fn fold(&mut self, loop_: &Comprehension) -> Result<Node, Fault> {
        let range = self.plan(&loop_.range)?;
        let init = self.plan(&loop_.init)?;
        let accumulator = self.scope.len();
        self.scope.push(loop_.accumulator.clone());
        let variable = self.scope.len();
        self.scope.push(loop_.variable.clone());
        let second = loop_.second.as_ref().map(|name| {
            self.scope.push(name.clone());
            variable + 1
        });
        self.locals = self.locals.max(self.scope.len());
        let condition = self.plan(&loop_.condition)?;
        let step = self.plan(&loop_.step)?;
        self.scope.truncate(accumulator + 1);
        let result = self.plan(&loop_.result)?;
        self.scope.truncate(accumulator);
        Ok(Node::Fold(Box::new(Fold {
            range,
            init,
            accumulator,
            variable,
            second,
            binding: loop_.is_binding(),
            condition,
            step,
            result,
        })))
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Result<Node, Fault> {
        let mut args = Vec::with_capacity(call.args.len() + 1);
        for arg in call.target.iter().chain(&call.args) {
            args.push(self.plan(arg)?);
        }
        let overloads = self.checked.overloads(expr);
        let function = &*call.function;
        if let Some(two) = pair(&mut args, function) {
            return Ok(match function {
                operator::AND => Node::And(Box::new(two)),
                operator::OR => Node::Or(Box::new(two)),
                operator::EQUALS => Node::Equal(Box::new(two), false),
                operator::NOT_EQUALS => Node::Equal(Box::new(two), true),
                operator::INDEX => index(two, false),
                _ => index(two, true),
            });
        }
        if function == operator::CONDITIONAL && args.len() == 3 {
            let no = args.remove(2).into_attribute();
            let yes = args.remove(1).into_attribute();
            let condition = args.remove(0);
            return Ok(attribute(Root::Conditional(Box::new((condition, yes, no)))));
        }
        if function == operator::NOT_STRICTLY_FALSE && args.len() == 1 {
            return Ok(Node::NotStrictlyFalse(Box::new(args.remove(0))));
        }
        let is = |ids: &[&str]| overloads.iter().any(|o| ids.contains(&o.id));
        if is(&["optional_or_optional", "optional_orValue_value"]) && args.len() == 2 {
            let other = args.remove(1);
            let value = args.remove(0);
            let unwrap = function == "orValue";
            return Ok(Node::OptionalOr(Box::new([value, other]), unwrap));
        }
        if let [Node::Const(value)] = args.as_slice()
            && is_conversion(function)
        {
            let value = value.clone();
            return invoke_now(overloads, value).map(Node::Const);
        }
        if let ([overload], [_, Node::Const(Value::List(list))]) = (overloads, args.as_slice())
            && overload.id == "in_list"
            && let Some(within) = plain_set(list)
        {
            if list.is_empty() {
                return Ok(Node::Const(Value::Bool(false)));
            }
            return Ok(Node::Within(Box::new(args.remove(0)), within));
        }
        if let Some(place) = self.accumulated(&args) {
            if function == operator::ADD
                && matches!(
                    args.get(1),
                    Some(Node::List(_) | Node::Const(Value::List(_)))
                )
            {
                return Ok(Node::Append(place, Box::new(args.remove(1))));
            }
            if function == "cel.@mapInsert" {
                args.remove(0);
                return Ok(Node::Insert(place, args));
            }
        }
        let regex = match (function, args.get(1).and_then(Node::constant)) {
            ("matches" | "find" | "findAll", Some(Value::String(pattern))) => {
                Some(regexp::compile(pattern.as_str()).map_err(Fault::new)?)
            }
            _ => None,
        };
        let (code, id) = match overloads {
            [only] => (Code::One(only.code), Some(only.id)),
            many => (Code::Many(many.to_vec()), None),
        };
        Ok(Node::Call(Box::new(Invocation {
            code,
            args,
            price: Price::of(function, id),
            regex,
        })))
    }

    /// The accumulator's place, where it is the first argument.
    fn accumulated(&self, args: &[Node]) -> Option<usize> {
        let place = args.first()?.local()?;
        (**self.scope.get(place)? == *ACCUMULATOR).then_some(place)
    }
}

fn constant_map(entries: &[(Node, Node, bool)]) -> Option<Map<'static>> {
    let mut map = Map::owned(std::collections::BTreeMap::new());
    for (key, value, optional) in entries {
        if *optional {
            return None;
        }
        // A key given twice is left to evaluation.
        map.insert(key.constant()?, value.constant()?.clone())
            .ok()?;
    }
    Some(map)
}

/// The two arguments of an operator that is no call.
fn pair(args: &mut Vec<Node>, function: &str) -> Option<[Node; 2]> {
    let special = [
        operator::AND,
        operator::OR,
        operator::EQUALS,
        operator::NOT_EQUALS,
        operator::INDEX,
        operator::OPTIONAL_INDEX,
        operator::OPTIONAL_SELECT,
    ];
    if !special.contains(&function) || args.len() != 2 {
        return None;
    }
    let second = args.pop()?;
    let first = args.pop()?;
    Some([first, second])
}

fn index([operand, by]: [Node; 2], optional: bool) -> Node {
    let mut attribute = operand.into_attribute();
    let by = match by {
        Node::Const(value) => By::Const(value),
        Node::Attribute(own) => By::Attribute(*own),
        node => By::Node(node),
    };
    attribute.qualifiers.push(Qualifier { by, optional });
    Node::Attribute(Box::new(attribute))
}

fn is_conversion(function: &str) -> bool {
    matches!(
        function,
        "bool"
            | "bytes"
            | "double"
            | "duration"
            | "dyn"
            | "int"
            | "string"
            | "timestamp"
            | "type"
            | "uint"
    )
}

fn invoke_now(
    overloads: &[&'static Overload],
    value: Value<'static>,
) -> Result<Value<'static>, Fault> {
    let values = [value];
    let overload = overloads
        .iter()
        .find(|overload| overload.takes(&values))
        .ok_or_else(Fault::no_such_overload)?;
    (overload.code)(Args {
        values: &values,
        regex: None,
    })
}

fn plain_set(list: &List<'static>) -> Option<HashSet<Plain>> {
    list.iter().map(|item| Plain::of(&item.ok()?)).collect()
}
