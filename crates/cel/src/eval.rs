//! The evaluator: walks the plan, counts what it costs as upstream's tracker does, and stops once that
//! is more than it may.

use crate::{
    activation::Activation,
    functions::{Args, two_variables},
    limits,
    plan::{Attribute, By, Code, Fold, Invocation, Node, Plain, Plan, Qualifier, Root},
    value::{Fault, Map, Outcome, Struct, Value, check_index, equal},
};

/// Evaluates a plan; also says what that has cost.
pub(crate) fn run<'a>(
    plan: &'a Plan,
    activation: &Activation<'a>,
    limit: u64,
) -> (Outcome<'a>, u64) {
    let mut evaluation = Evaluation {
        plan,
        activation,
        locals: Vec::with_capacity(plan.locals),
        cost: 0,
        limit,
    };
    evaluation
        .locals
        .resize_with(plan.locals, || Local::Known(Ok(Value::Null)));
    let outcome = evaluation.eval(&plan.root);
    (outcome, evaluation.cost)
}

struct Evaluation<'e, 'a> {
    plan: &'a Plan,
    activation: &'e Activation<'a>,
    locals: Vec<Local<'a>>,
    cost: u64,
    limit: u64,
}

/// A loop variable or accumulator.
enum Local<'a> {
    Known(Outcome<'a>),
    /// Evaluated when first read.
    Unread(&'a Node),
}

/// What looking something up finds.
enum Found<'a> {
    Present(Value<'a>),
    /// Not there; the fault is for those that need it to be.
    Missing(Fault),
}

impl<'a> Evaluation<'_, 'a> {
    fn charge(&mut self, cost: u64) -> Result<(), Fault> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit {
            return Err(Fault::Cost);
        }
        Ok(())
    }

    fn eval(&mut self, node: &'a Node) -> Outcome<'a> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Attribute(attribute) => {
                let outcome = self.resolve(attribute);
                // Presence tests and conditions are free but for what they look at.
                if !attribute.test && !matches!(attribute.root, Root::Conditional(_)) {
                    self.charge(limits::SELECT)?;
                }
                outcome
            }
            Node::And(terms) => self.logic(terms, false),
            Node::Or(terms) => self.logic(terms, true),
            Node::NotStrictlyFalse(operand) => {
                let outcome = self.eval(operand);
                self.charge(1)?;
                match outcome {
                    Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                    Err(Fault::Cost) => Err(Fault::Cost),
                    _ => Ok(Value::Bool(true)),
                }
            }
            Node::Equal(operands, negated) => self.equality(operands, *negated),
            Node::Call(invocation) => self.invoke(invocation),
            Node::Within(operand, set) => {
                let value = self.eval(operand)?;
                let within = Plain::of(&value).is_some_and(|plain| set.contains(&plain));
                Ok(Value::Bool(within))
            }
            Node::OptionalOr(operands, unwrap) => match self.eval(&operands[0])? {
                Value::Optional(Some(value)) if *unwrap => Ok(Value::clone(&value)),
                value @ Value::Optional(Some(_)) => Ok(value),
                Value::Optional(None) => self.eval(&operands[1]),
                _ => Err(Fault::no_such_overload()),
            },
            Node::List(elements) => {
                let list = self.list(elements);
                self.charge(limits::LIST)?;
                list
            }
            Node::Map(entries) => {
                let map = self.map(entries);
                self.charge(limits::MAP)?;
                map
            }
            Node::Struct(name, fields) => {
                let mut made = Struct {
                    name: name.clone(),
                    fields: Vec::with_capacity(fields.len()),
                };
                for (field, node, optional) in fields {
                    let value = self.eval(node)?;
                    if let Some(value) = given(value, *optional, || format!("'{field}'"))? {
                        made.fields.push((field.clone(), value));
                    }
                }
                self.charge(limits::STRUCT)?;
                Ok(Value::Struct(made.into()))
            }
            Node::Fold(fold) => self.fold(fold),
            Node::Append(place, items) => {
                let accumulated = self.take(*place);
                self.charge(limits::SELECT)?;
                let items = self.eval(items);
                self.charge(1)?;
                let (Value::List(mut list), Value::List(items)) = (accumulated?, items?) else {
                    return Err(Fault::no_such_overload());
                };
                for item in items.iter() {
                    list.push(item?)?;
                }
                Ok(Value::List(list))
            }
            Node::Insert(place, rest) => {
                let accumulated = self.take(*place);
                self.charge(limits::SELECT)?;
                let mut values = Vec::with_capacity(rest.len());
                for node in rest {
                    values.push(self.eval(node)?);
                }
                self.charge(1)?;
                two_variables::into(accumulated?, &values)
            }
        }
    }

    /// `&&` (which a false settles) and `||` (which a true settles): the other side's error counts only
    /// where nothing settles it.
    fn logic(&mut self, terms: &'a [Node; 2], settling: bool) -> Outcome<'a> {
        let mut wrong = None;
        for term in terms {
            match self.eval(term) {
                Ok(Value::Bool(value)) if value == settling => return Ok(Value::Bool(settling)),
                Ok(Value::Bool(_)) => {}
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(fault) => wrong = wrong.or(Some(fault)),
                Ok(_) => wrong = wrong.or_else(|| Some(Fault::no_such_overload())),
            }
        }
        wrong.map_or(Ok(Value::Bool(!settling)), Err)
    }

    fn equality(&mut self, operands: &'a [Node; 2], negated: bool) -> Outcome<'a> {
        let a = self.eval(&operands[0]);
        if matches!(a, Err(Fault::Cost)) {
            return a;
        }
        let b = self.eval(&operands[1]);
        let size = |value: &Outcome<'a>| value.as_ref().map_or(1, Value::size);
        let cost = match &a {
            Ok(Value::Opaque(_)) if !negated => 1,
            _ => crate::cost::text_cost(size(&a).min(size(&b))),
        };
        self.charge(cost)?;
        let same = equal(&a?, &b?);
        if negated {
            return match same {
                Err(Fault::Cost) => Err(Fault::Cost),
                same => Ok(Value::Bool(same != Ok(true))),
            };
        }
        same.map(Value::Bool)
    }

    fn invoke(&mut self, invocation: &'a Invocation) -> Outcome<'a> {
        let mut values = Vec::with_capacity(invocation.args.len());
        let mut wrong = None;
        for arg in &invocation.args {
            match self.eval(arg) {
                Ok(value) => values.push(value),
                Err(Fault::Cost) => return Err(Fault::Cost),
                // Calls of three and more end at the first error, and are not charged for.
                Err(fault) if invocation.args.len() > 2 => return Err(fault),
                Err(fault) => {
                    wrong = wrong.or(Some(fault));
                    values.push(Value::Null);
                }
            }
        }
        if let Some(fault) = wrong {
            self.charge(invocation.price.actual(&values, None))?;
            return Err(fault);
        }
        let args = Args {
            values: &values,
            regex: invocation.regex.as_ref(),
        };
        let outcome = match &invocation.code {
            Code::One(code) => code(args),
            Code::Many(overloads) => overloads
                .iter()
                .find(|overload| overload.takes(&values))
                .ok_or_else(Fault::no_such_overload)
                .and_then(|overload| (overload.code)(args)),
        };
        self.charge(invocation.price.actual(&values, outcome.as_ref().ok()))?;
        outcome
    }

    fn list(&mut self, elements: &'a [(Node, bool)]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (node, optional) in elements {
            let value = self.eval(node)?;
            if *optional && !matches!(value, Value::Optional(_)) {
                return Err(Fault::new(format!(
                    "cannot initialize optional list element from non-optional value {value}"
                )));
            }
            values.extend(given(value, *optional, String::new)?);
        }
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Outcome<'a> {
        let mut map = Map::owned(std::collections::BTreeMap::new());
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            if let Some(value) = given(value, *optional, || format!("'{key}'"))? {
                map.put(&key, value)?;
            }
        }
        Ok(Value::Map(map))
    }

    /// A local's value, taken out of its place: it is put back changed.
    fn take(&mut self, place: usize) -> Outcome<'a> {
        match std::mem::replace(&mut self.locals[place], Local::Known(Ok(Value::Null))) {
            Local::Known(outcome) => outcome,
            Local::Unread(node) => self.eval(node),
        }
    }

    fn local(&mut self, place: usize) -> Outcome<'a> {
        match &self.locals[place] {
            Local::Known(outcome) => outcome.clone(),
            Local::Unread(node) => {
                let outcome = self.eval(node);
                self.locals[place] = Local::Known(outcome.clone());
                outcome
            }
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Outcome<'a> {
        if fold.binding {
            self.locals[fold.accumulator] = Local::Unread(&fold.init);
            return self.eval(&fold.result);
        }
        let range = self.eval(&fold.range)?;
        let init = self.eval(&fold.init);
        self.locals[fold.accumulator] = Local::Known(init);
        match &range {
            Value::List(list) => {
                for place in 0..list.len() {
                    let item = list.get(place);
                    let going = match fold.second {
                        None => self.step(fold, item, None),
                        Some(_) => self.step(fold, Ok(Value::Int(place as i64)), Some(item)),
                    };
                    if !going? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let going = match fold.second {
                        None => self.step(fold, Ok(key), None),
                        Some(_) => {
                            let value = map
                                .find(&key)
                                .and_then(|found| found.ok_or_else(|| Fault::no_such_key(&key)));
                            self.step(fold, Ok(key), Some(value))
                        }
                    };
                    if !going? {
                        break;
                    }
                }
            }
            other => {
                return Err(Fault::new(format!(
                    "got '{}', expected iterable type",
                    other.type_name()
                )));
            }
        }
        self.eval(&fold.result)
    }

    /// One turn of a loop; false where the loop ends before it.
    fn step(
        &mut self,
        fold: &'a Fold,
        first: Outcome<'a>,
        second: Option<Outcome<'a>>,
    ) -> Result<bool, Fault> {
        self.locals[fold.variable] = Local::Known(first);
        if let (Some(place), Some(value)) = (fold.second, second) {
            self.locals[place] = Local::Known(value);
        }
        match self.eval(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(Fault::Cost) => return Err(Fault::Cost),
            _ => {}
        }
        let accumulated = self.eval(&fold.step);
        if matches!(accumulated, Err(Fault::Cost)) {
            return Err(Fault::Cost);
        }
        self.locals[fold.accumulator] = Local::Known(accumulated);
        Ok(true)
    }

    /// The attribute's value, charging for what is selected but not for the attribute itself.
    fn resolve(&mut self, attribute: &'a Attribute) -> Outcome<'a> {
        let root = match &attribute.root {
            Root::Global(place) => {
                let name = &self.plan.globals[*place];
                self.activation
                    .get(name)
                    .unwrap_or_else(|| Err(Fault::new(format!("no such attribute(s): {name}"))))
            }
            Root::Local(place) => self.local(*place),
            Root::Node(node) => self.eval(node),
            Root::Conditional(parts) => {
                let (condition, yes, no) = &**parts;
                match self.eval(condition)? {
                    Value::Bool(true) => self.resolve(yes),
                    Value::Bool(false) => self.resolve(no),
                    _ => Err(Fault::no_such_overload()),
                }
            }
        }?;
        if attribute.qualifiers.is_empty() {
            return Ok(root);
        }
        let (mut value, mut optional) = match root {
            Value::Optional(None) if attribute.test => return Ok(Value::Bool(false)),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(value)) => (Value::clone(&value), true),
            value => (value, false),
        };
        let last = attribute.qualifiers.len() - 1;
        for (place, qualifier) in attribute.qualifiers.iter().enumerate() {
            optional |= qualifier.optional;
            let test = attribute.test && place == last;
            let found = self.qualify(&value, qualifier);
            if test || !optional || matches!(found, Ok(Found::Present(_))) {
                self.charge(limits::SELECT)?;
            }
            value = match found? {
                Found::Present(_) if test => return Ok(Value::Bool(true)),
                Found::Missing(_) if test => return Ok(Value::Bool(false)),
                Found::Present(value) => value,
                Found::Missing(_) if optional && attribute.test => return Ok(Value::Bool(false)),
                Found::Missing(_) if optional => return Ok(Value::Optional(None)),
                Found::Missing(fault) => return Err(fault),
            };
        }
        Ok(if optional { Value::some(value) } else { value })
    }

    fn qualify(&mut self, value: &Value<'a>, qualifier: &'a Qualifier) -> Result<Found<'a>, Fault> {
        match &qualifier.by {
            By::Const(key) => self.find(value, key),
            By::Attribute(attribute) => {
                let key = self.resolve(attribute)?;
                self.find(value, &key)
            }
            By::Node(node) => {
                let key = self.eval(node)?;
                self.find(value, &key)
            }
        }
    }

    fn find(&mut self, value: &Value<'a>, key: &Value<'a>) -> Result<Found<'a>, Fault> {
        let found = match value {
            Value::Map(map) => map.look_up(key)?,
            Value::List(list) => {
                let index = check_index(key)?;
                return match usize::try_from(index) {
                    Ok(place) if place < list.len() => list.get(place).map(Found::Present),
                    _ => Ok(Found::Missing(Fault::new(format!(
                        "index out of bounds: {key}"
                    )))),
                };
            }
            Value::Struct(made) => key.as_str().and_then(|name| made.field(name)).cloned(),
            Value::Variables => match key.as_str().and_then(crate::escape::unescape) {
                Some(name) => self.activation.variable(&name).transpose()?,
                None => None,
            },
            _ => None,
        };
        Ok(match found {
            Some(value) => Found::Present(value),
            None => Found::Missing(Fault::no_such_key(key)),
        })
    }
}

/// The value to put in; none where it is given as optional and absent.
fn given<'a>(
    value: Value<'a>,
    optional: bool,
    entry: impl FnOnce() -> String,
) -> Result<Option<Value<'a>>, Fault> {
    if !optional {
        return Ok(Some(value));
    }
    match value {
        Value::Optional(value) => Ok(value.map(|value| Value::clone(&value))),
        other => Err(Fault::new(format!(
            "cannot initialize optional entry {} from non-optional value {other}",
            entry()
        ))),
    }
}
