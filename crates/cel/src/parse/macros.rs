//! Macros: calls that stand for other expressions. Loops become comprehensions, `has` a presence test.

use std::sync::Arc;

use super::Parser;
use crate::{
    ast::{
        ACCUMULATOR, Call, Comprehension, Element, Expr, Id, Kind, Literal, Select, UNUSED,
        operator,
    },
    environment::Library,
};

/// A name nobody may use for a loop variable besides [`ACCUMULATOR`].
const OLD_ACCUMULATOR: &str = "__result__";
/// What `sortBy` calls the list it sorts.
const SORTED: &str = "@__sortBy_input__";

/// Most nodes of an expression whose macros are expanded.
const NODES: usize = 400_000;

type Unexpanded = (Option<Expr>, Vec<Expr>);

/// Quantifiers over a range.
#[derive(Clone, Copy)]
enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

/// A loop's variables.
struct Variables {
    first: Arc<str>,
    second: Option<Arc<str>>,
}

impl Parser<'_, '_> {
    /// What a call stands for; the call's parts back where it is no macro.
    pub(super) fn expand(
        &mut self,
        id: Id,
        function: &str,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Result<Expr, Unexpanded> {
        let Some(target) = target else {
            return if function == "has" && args.len() == 1 {
                Ok(self.has(id, args))
            } else {
                Err((None, args))
            };
        };
        if function == "bind"
            && args.len() == 3
            && self.environment.has(Library::Bindings)
            && matches!(&target.kind, Kind::Ident(name) if **name == *"cel")
        {
            return Ok(self.bind(id, args));
        }
        let two = self.environment.has(Library::TwoVariables);
        let lists = self.environment.has(Library::Lists);
        let expanded = match (function, args.len()) {
            ("all", 2) => self.quantify(id, Quantifier::All, target, args, false),
            ("exists", 2) => self.quantify(id, Quantifier::Exists, target, args, false),
            ("exists_one" | "existsOne", 2) => {
                self.quantify(id, Quantifier::ExistsOne, target, args, false)
            }
            ("all", 3) if two => self.quantify(id, Quantifier::All, target, args, true),
            ("exists", 3) if two => self.quantify(id, Quantifier::Exists, target, args, true),
            ("exists_one" | "existsOne", 3) if two => {
                self.quantify(id, Quantifier::ExistsOne, target, args, true)
            }
            ("map", 2 | 3) => self.map_macro(id, target, args, false),
            ("transformList", 3 | 4) if two => self.map_macro(id, target, args, true),
            ("filter", 2) => self.filter(id, target, args),
            ("transformMap" | "transformMapEntry", 3 | 4) if two => {
                self.transform_map(id, target, args, function == "transformMapEntry")
            }
            ("optMap", 2) => self.optional_map(id, target, args, false),
            ("optFlatMap", 2) => self.optional_map(id, target, args, true),
            ("sortBy", 2) if lists => self.sort_by(id, target, args),
            _ => return Err((Some(target), args)),
        };
        Ok(expanded)
    }

    fn offset(&self, id: Id) -> u32 {
        self.positions.get(id as usize).copied().unwrap_or(0)
    }

    /// A node where the macro's call stands.
    fn made(&mut self, at: Id, kind: Kind) -> Expr {
        let offset = self.offset(at);
        self.node(offset, kind)
    }

    fn ident(&mut self, at: Id, name: &str) -> Expr {
        self.made(at, Kind::Ident(name.into()))
    }

    fn accumulator(&mut self, at: Id) -> Expr {
        self.ident(at, ACCUMULATOR)
    }

    fn made_call(&mut self, at: Id, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        self.made(
            at,
            Kind::Call(Box::new(Call {
                function: function.into(),
                target,
                args,
            })),
        )
    }

    fn boolean(&mut self, at: Id, value: bool) -> Expr {
        self.made(at, Kind::Literal(Literal::Bool(value)))
    }

    fn number(&mut self, at: Id, value: i64) -> Expr {
        self.made(at, Kind::Literal(Literal::Int(value)))
    }

    fn list_of(&mut self, at: Id, values: Vec<Expr>) -> Expr {
        let elements = values
            .into_iter()
            .map(|value| Element {
                value,
                optional: false,
            })
            .collect();
        self.made(at, Kind::List(elements))
    }

    /// The node again, with numbers of its own. Copies of copies grow fast, so there is an end to it:
    /// beyond [`NODES`] an error stands in the copy's place.
    fn copy(&mut self, expr: &Expr) -> Expr {
        if self.positions.len() + count(expr) > NODES {
            let offset = self.offset(expr.id);
            return self.error(offset, "expression too large after the expansion of macros");
        }
        let mut copy = expr.clone();
        self.renumber(&mut copy);
        copy
    }

    fn renumber(&mut self, expr: &mut Expr) {
        let offset = self.offset(expr.id);
        expr.id = self.id(offset);
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Missing => {}
            Kind::Select(select) => self.renumber(&mut select.operand),
            Kind::Call(call) => {
                if let Some(target) = &mut call.target {
                    self.renumber(target);
                }
                call.args.iter_mut().for_each(|arg| self.renumber(arg));
            }
            Kind::List(elements) => {
                for element in elements {
                    self.renumber(&mut element.value);
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    self.renumber(&mut entry.key);
                    self.renumber(&mut entry.value);
                }
            }
            Kind::Struct(_, fields) => {
                for field in fields {
                    let offset = self.offset(field.id);
                    field.id = self.id(offset);
                    self.renumber(&mut field.value);
                }
            }
            Kind::Comprehension(loop_) => {
                for part in [
                    &mut loop_.range,
                    &mut loop_.init,
                    &mut loop_.condition,
                    &mut loop_.step,
                    &mut loop_.result,
                ] {
                    self.renumber(part);
                }
            }
        }
    }

    fn has(&mut self, id: Id, mut args: Vec<Expr>) -> Expr {
        match args.pop() {
            Some(Expr {
                kind: Kind::Select(select),
                ..
            }) if !select.test => {
                let Select { operand, field, .. } = *select;
                self.made(
                    id,
                    Kind::Select(Box::new(Select {
                        operand,
                        field,
                        test: true,
                    })),
                )
            }
            Some(arg) => {
                let offset = self.offset(arg.id);
                self.error(offset, "invalid argument to has() macro")
            }
            None => self.made(id, Kind::Missing),
        }
    }

    /// The loop's variables off the front of the arguments; the error node where they are no names.
    fn variables(
        &mut self,
        args: &mut Vec<Expr>,
        two: bool,
        complaint: &str,
    ) -> Result<Variables, Expr> {
        let first = args.remove(0);
        let second = two.then(|| args.remove(0));
        let name = |parser: &mut Self, arg: &Expr| {
            let offset = parser.offset(arg.id);
            let Kind::Ident(name) = &arg.kind else {
                return Err(parser.error(offset, complaint));
            };
            if **name == *ACCUMULATOR || **name == *OLD_ACCUMULATOR {
                return Err(
                    parser.error(offset, "iteration variable overwrites accumulator variable")
                );
            }
            Ok(name.clone())
        };
        let name_of_first = name(self, &first)?;
        let Some(second) = second else {
            return Ok(Variables {
                first: name_of_first,
                second: None,
            });
        };
        let name_of_second = name(self, &second)?;
        if name_of_first == name_of_second {
            let offset = self.offset(second.id);
            return Err(self.error(offset, format!("duplicate variable name: {name_of_first}")));
        }
        Ok(Variables {
            first: name_of_first,
            second: Some(name_of_second),
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn comprehension(
        &mut self,
        at: Id,
        range: Expr,
        variables: Variables,
        accumulator: &str,
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> Expr {
        self.made(
            at,
            Kind::Comprehension(Box::new(Comprehension {
                range,
                variable: variables.first,
                second: variables.second,
                accumulator: accumulator.into(),
                init,
                condition,
                step,
                result,
            })),
        )
    }

    fn quantify(
        &mut self,
        id: Id,
        quantifier: Quantifier,
        target: Expr,
        mut args: Vec<Expr>,
        two: bool,
    ) -> Expr {
        let variables = match self.variables(&mut args, two, "argument must be a simple name") {
            Ok(variables) => variables,
            Err(error) => return error,
        };
        let predicate = args.remove(0);
        let (init, condition, step, result);
        match quantifier {
            Quantifier::All => {
                init = self.boolean(id, true);
                let so_far = self.accumulator(id);
                condition = self.made_call(id, operator::NOT_STRICTLY_FALSE, None, vec![so_far]);
                let so_far = self.accumulator(id);
                step = self.made_call(id, operator::AND, None, vec![so_far, predicate]);
                result = self.accumulator(id);
            }
            Quantifier::Exists => {
                init = self.boolean(id, false);
                let so_far = self.accumulator(id);
                let not = self.made_call(id, operator::NOT, None, vec![so_far]);
                condition = self.made_call(id, operator::NOT_STRICTLY_FALSE, None, vec![not]);
                let so_far = self.accumulator(id);
                step = self.made_call(id, operator::OR, None, vec![so_far, predicate]);
                result = self.accumulator(id);
            }
            Quantifier::ExistsOne => {
                init = self.number(id, 0);
                condition = self.boolean(id, true);
                let so_far = self.accumulator(id);
                let one = self.number(id, 1);
                let more = self.made_call(id, operator::ADD, None, vec![so_far, one]);
                let so_far = self.accumulator(id);
                step = self.made_call(
                    id,
                    operator::CONDITIONAL,
                    None,
                    vec![predicate, more, so_far],
                );
                let so_far = self.accumulator(id);
                let one = self.number(id, 1);
                result = self.made_call(id, operator::EQUALS, None, vec![so_far, one]);
            }
        }
        self.comprehension(
            id,
            target,
            variables,
            ACCUMULATOR,
            init,
            condition,
            step,
            result,
        )
    }

    fn map_macro(&mut self, id: Id, target: Expr, args: Vec<Expr>, two: bool) -> Expr {
        let mut args = args;
        let complaint = if two {
            "argument must be a simple name"
        } else {
            "argument is not an identifier"
        };
        let variables = match self.variables(&mut args, two, complaint) {
            Ok(variables) => variables,
            Err(error) => return error,
        };
        let filter = (args.len() == 2).then(|| args.remove(0));
        let transform = args.remove(0);
        let init = self.list_of(id, Vec::new());
        let condition = self.boolean(id, true);
        let so_far = self.accumulator(id);
        let one = self.list_of(id, vec![transform]);
        let step = self.made_call(id, operator::ADD, None, vec![so_far, one]);
        self.looped(id, target, variables, init, condition, step, filter)
    }

    /// A loop whose step is taken where the filter says so.
    #[allow(clippy::too_many_arguments)]
    fn looped(
        &mut self,
        id: Id,
        target: Expr,
        variables: Variables,
        init: Expr,
        condition: Expr,
        step: Expr,
        filter: Option<Expr>,
    ) -> Expr {
        let step = match filter {
            None => step,
            Some(filter) => {
                let so_far = self.accumulator(id);
                self.made_call(id, operator::CONDITIONAL, None, vec![filter, step, so_far])
            }
        };
        let result = self.accumulator(id);
        self.comprehension(
            id,
            target,
            variables,
            ACCUMULATOR,
            init,
            condition,
            step,
            result,
        )
    }

    fn filter(&mut self, id: Id, target: Expr, mut args: Vec<Expr>) -> Expr {
        let variable = args[0].clone();
        let variables = match self.variables(&mut args, false, "argument is not an identifier") {
            Ok(variables) => variables,
            Err(error) => return error,
        };
        let predicate = args.remove(0);
        let init = self.list_of(id, Vec::new());
        let condition = self.boolean(id, true);
        let so_far = self.accumulator(id);
        let one = self.list_of(id, vec![variable]);
        let step = self.made_call(id, operator::ADD, None, vec![so_far, one]);
        self.looped(
            id,
            target,
            variables,
            init,
            condition,
            step,
            Some(predicate),
        )
    }

    fn transform_map(&mut self, id: Id, target: Expr, mut args: Vec<Expr>, entry: bool) -> Expr {
        let variables = match self.variables(&mut args, true, "argument must be a simple name") {
            Ok(variables) => variables,
            Err(error) => return error,
        };
        let filter = (args.len() == 2).then(|| args.remove(0));
        let transform = args.remove(0);
        let init = self.made(id, Kind::Map(Vec::new()));
        let condition = self.boolean(id, true);
        let mut inserted = vec![self.accumulator(id)];
        if !entry {
            let name = variables.first.clone();
            inserted.push(self.ident(id, &name));
        }
        inserted.push(transform);
        let step = self.made_call(id, "cel.@mapInsert", None, inserted);
        self.looped(id, target, variables, init, condition, step, filter)
    }

    /// `name` stands for `value` within `body`.
    fn binding(&mut self, id: Id, name: &str, value: Expr, body: Expr) -> Expr {
        let nothing = self.list_of(id, Vec::new());
        let never = self.boolean(id, false);
        let same = self.ident(id, name);
        let variables = Variables {
            first: UNUSED.into(),
            second: None,
        };
        self.comprehension(id, nothing, variables, name, value, never, same, body)
    }

    fn bind(&mut self, id: Id, mut args: Vec<Expr>) -> Expr {
        let name = args.remove(0);
        let Kind::Ident(variable) = &name.kind else {
            let offset = self.offset(name.id);
            return self.error(
                offset,
                "cel.bind() variable names must be simple identifiers",
            );
        };
        let value = args.remove(0);
        let body = args.remove(0);
        self.binding(id, &variable.clone(), value, body)
    }

    fn optional_map(&mut self, id: Id, target: Expr, mut args: Vec<Expr>, flat: bool) -> Expr {
        let name = args.remove(0);
        let body = args.remove(0);
        let Kind::Ident(variable) = &name.kind else {
            let offset = self.offset(name.id);
            let own = if flat { "optFlatMap" } else { "optMap" };
            return self.error(
                offset,
                format!("{own}() variable name must be a simple identifier"),
            );
        };
        let variable = variable.clone();
        let copy = self.copy(&target);
        let there = self.made_call(id, "hasValue", Some(target), Vec::new());
        let value = self.made_call(id, "value", Some(copy), Vec::new());
        let bound = self.binding(id, &variable, value, body);
        let yes = if flat {
            bound
        } else {
            self.made_call(id, "optional.of", None, vec![bound])
        };
        let no = self.made_call(id, "optional.none", None, Vec::new());
        self.made_call(id, operator::CONDITIONAL, None, vec![there, yes, no])
    }

    fn sort_by(&mut self, id: Id, target: Expr, args: Vec<Expr>) -> Expr {
        if matches!(
            target.kind,
            Kind::Literal(_) | Kind::Map(_) | Kind::Struct(..)
        ) {
            let offset = self.offset(target.id);
            return self.error(
                offset,
                "sortBy can only be applied to a list, identifier, comprehension, call or select expression",
            );
        }
        let range = self.ident(id, SORTED);
        let keys = self.map_macro(id, range, args, false);
        if matches!(keys.kind, Kind::Missing) {
            return keys;
        }
        let list = self.ident(id, SORTED);
        let sorted = self.made_call(id, "@sortByAssociatedKeys", Some(list), vec![keys]);
        self.binding(id, SORTED, target, sorted)
    }
}

fn count(expr: &Expr) -> usize {
    let mut nodes = 1;
    expr.children(&mut |child| nodes += count(child));
    nodes
}
