//! kubectl's JSONPath templates: `{.items[*].metadata.name}`, `{range …}{end}`, filters, `"\n"`.

use serde_json::Value;

/// Deepest nesting of ranges and filters that is parsed.
const DEEPEST: usize = 32;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Root,
    Field(String),
    Wildcard,
    Descend,
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Union(Vec<Step>),
    Filter(Box<Operand>, Option<(Compare, Box<Operand>)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

impl Template {
    /// Parses a template; a text without braces is taken as one path.
    pub fn parse(text: &str) -> Result<Template, String> {
        let text = if text.contains('{') {
            text.to_string()
        } else {
            format!("{{{text}}}")
        };
        let mut reader = Reader {
            rest: &text,
            whole: &text,
        };
        let parts = reader.parts(0)?;
        if !reader.rest.is_empty() {
            return Err(reader.wrong("{end} without {range}"));
        }
        Ok(Template(parts))
    }

    /// What the template makes of a value. Missing fields print nothing.
    pub fn print(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        print(&self.0, value, value, &mut out)?;
        Ok(out)
    }

    /// The values its first path leads to.
    pub fn values<'v>(&self, value: &'v Value) -> Result<Vec<&'v Value>, String> {
        match self.0.iter().find_map(|p| {
            if let Part::Path(steps) = p {
                Some(steps)
            } else {
                None
            }
        }) {
            Some(steps) => follow(steps, value, value),
            None => Ok(Vec::new()),
        }
    }
}

fn print(parts: &[Part], root: &Value, current: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let found = follow(steps, root, current)?;
                let texts: Vec<String> = found.into_iter().map(shown).collect();
                out.push_str(&texts.join(" "));
            }
            Part::Range(steps, inner) => {
                for item in follow(steps, root, current)? {
                    print(inner, root, item, out)?;
                }
            }
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn follow<'v>(
    steps: &[Step],
    root: &'v Value,
    current: &'v Value,
) -> Result<Vec<&'v Value>, String> {
    let mut at = vec![current];
    for step in steps {
        let mut next = Vec::new();
        for value in at {
            advance(step, root, value, &mut next)?;
        }
        at = next;
    }
    Ok(at)
}

fn advance<'v>(
    step: &Step,
    root: &'v Value,
    value: &'v Value,
    next: &mut Vec<&'v Value>,
) -> Result<(), String> {
    match step {
        Step::Root => next.push(root),
        Step::Field(name) => next.extend(value.get(name)),
        Step::Wildcard => match value {
            Value::Array(list) => next.extend(list),
            Value::Object(map) => next.extend(map.values()),
            _ => {}
        },
        Step::Descend => descend(value, next),
        Step::Index(index) => {
            if let Value::Array(list) = value {
                let place = position(*index, list.len()).filter(|p| *p < list.len());
                let place = place.ok_or_else(|| {
                    format!(
                        "array index out of bounds: index {index}, length {}",
                        list.len()
                    )
                })?;
                next.push(&list[place]);
            }
        }
        Step::Slice(from, to, step) => {
            if let Value::Array(list) = value {
                let from = from.map_or(0, |f| position(f, list.len()).unwrap_or(0));
                let to = to
                    .map_or(list.len(), |t| position(t, list.len()).unwrap_or(0))
                    .min(list.len());
                let step = usize::try_from(*step)
                    .ok()
                    .filter(|s| *s > 0)
                    .ok_or("step must be > 0")?;
                next.extend(list.iter().take(to).skip(from).step_by(step));
            }
        }
        Step::Union(steps) => {
            for step in steps {
                advance(step, root, value, next)?;
            }
        }
        Step::Filter(left, comparison) => {
            if let Value::Array(list) = value {
                for item in list {
                    if holds(left, comparison.as_ref(), root, item)? {
                        next.push(item);
                    }
                }
            }
        }
    }
    Ok(())
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn descend<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    out.push(value);
    match value {
        Value::Array(list) => list.iter().for_each(|v| descend(v, out)),
        Value::Object(map) => map.values().for_each(|v| descend(v, out)),
        _ => {}
    }
}

fn holds(
    left: &Operand,
    comparison: Option<&(Compare, Box<Operand>)>,
    root: &Value,
    item: &Value,
) -> Result<bool, String> {
    let value = |operand: &Operand| -> Result<Option<Value>, String> {
        Ok(match operand {
            Operand::Literal(value) => Some(value.clone()),
            Operand::Path(steps) => follow(steps, root, item)?.first().map(|v| (*v).clone()),
        })
    };
    let left = value(left)?;
    let Some((compare, right)) = comparison else {
        return Ok(left.is_some());
    };
    let (Some(left), Some(right)) = (left, value(right)?) else {
        return Ok(false);
    };
    let order = match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    Ok(match compare {
        Compare::Equal => order.map_or(left == right, |o| o.is_eq()),
        Compare::Unequal => order.map_or(left != right, |o| o.is_ne()),
        Compare::Less => order.is_some_and(|o| o.is_lt()),
        Compare::LessEqual => order.is_some_and(|o| o.is_le()),
        Compare::Greater => order.is_some_and(|o| o.is_gt()),
        Compare::GreaterEqual => order.is_some_and(|o| o.is_ge()),
    })
}

struct Reader<'t> {
    rest: &'t str,
    whole: &'t str,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("error parsing jsonpath {}, {what}", self.whole)
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn parts(&mut self, depth: usize) -> Result<Vec<Part>, String> {
        if depth > DEEPEST {
            return Err(self.wrong("nested too deeply"));
        }
        let mut parts = Vec::new();
        while !self.rest.is_empty() {
            let Some(open) = self.rest.find('{') else {
                parts.push(Part::Text(std::mem::take(&mut self.rest).to_string()));
                break;
            };
            if open > 0 {
                parts.push(Part::Text(self.rest[..open].to_string()));
                self.rest = &self.rest[open..];
            }
            if self.rest.replace(' ', "").starts_with("{end}") {
                break;
            }
            self.take("{");
            self.spaces();
            if self.rest.starts_with(['"', '\'']) {
                parts.push(Part::Text(self.quoted()?));
                self.close("}")?;
            } else if let Some(rest) = self
                .rest
                .strip_prefix("range")
                .filter(|r| r.starts_with([' ', '.', '$', '@', '[']))
            {
                self.rest = rest;
                self.spaces();
                let path = self.path(depth)?;
                self.close("}")?;
                let inner = self.parts(depth + 1)?;
                self.take("{");
                self.spaces();
                if !self.take("end") {
                    return Err(self.wrong("{range} without {end}"));
                }
                self.close("}")?;
                parts.push(Part::Range(path, inner));
            } else {
                let path = self.path(depth)?;
                self.close("}")?;
                parts.push(Part::Path(path));
            }
        }
        Ok(parts)
    }

    fn close(&mut self, token: &str) -> Result<(), String> {
        self.spaces();
        if self.take(token) {
            Ok(())
        } else {
            Err(self.wrong(&format!("expected '{token}' before '{}'", self.rest)))
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().unwrap_or('"');
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(other) => out.push(other),
                    None => break,
                },
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(out);
                }
                c => out.push(c),
            }
        }
        Err(self.wrong("unterminated quoted string"))
    }

    fn path(&mut self, depth: usize) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        if self.take("$") {
            steps.push(Step::Root);
        } else {
            self.take("@");
        }
        loop {
            if self.take("..") {
                steps.push(Step::Descend);
                if !self.rest.starts_with(['[', '}']) {
                    steps.push(self.field()?);
                }
            } else if self.take(".") {
                if !self.rest.is_empty() && !self.rest.starts_with(['[', '}', ' ', ')']) {
                    steps.push(self.field()?);
                }
            } else if self.take("[") {
                steps.push(self.bracket(depth)?);
            } else if steps.is_empty()
                && self
                    .rest
                    .starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '*')
            {
                steps.push(self.field()?);
            } else {
                return Ok(steps);
            }
        }
    }

    fn field(&mut self) -> Result<Step, String> {
        if self.take("*") {
            return Ok(Step::Wildcard);
        }
        let mut name = String::new();
        let mut end = self.rest.len();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | '}' | ' ' | ')' | '=' | '!' | '<' | '>' | '{' | ',' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() {
            Err(self.wrong("a field name is missing"))
        } else {
            Ok(Step::Field(name))
        }
    }

    fn bracket(&mut self, depth: usize) -> Result<Step, String> {
        if depth > DEEPEST {
            return Err(self.wrong("nested too deeply"));
        }
        self.spaces();
        if self.take("?(") {
            self.spaces();
            let left = self.operand(depth)?;
            self.spaces();
            let comparison = match self.compare() {
                Some(compare) => {
                    self.spaces();
                    Some((compare, Box::new(self.operand(depth)?)))
                }
                None => None,
            };
            self.close(")")?;
            self.close("]")?;
            return Ok(Step::Filter(Box::new(left), comparison));
        }
        let mut steps = Vec::new();
        loop {
            self.spaces();
            if self.take("*") {
                steps.push(Step::Wildcard);
            } else if self.rest.starts_with(['\'', '"']) {
                steps.push(Step::Field(self.quoted()?));
            } else {
                steps.push(self.indexes()?);
            }
            self.spaces();
            if self.take("]") {
                break;
            }
            if !self.take(",") {
                return Err(self.wrong("unterminated array"));
            }
        }
        match <[Step; 1]>::try_from(steps) {
            Ok([only]) => Ok(only),
            Err(steps) => Ok(Step::Union(steps)),
        }
    }

    fn indexes(&mut self) -> Result<Step, String> {
        let first = self.integer()?;
        if !self.take(":") {
            return first
                .map(Step::Index)
                .ok_or_else(|| self.wrong("invalid array index"));
        }
        let second = self.integer()?;
        let step = if self.take(":") {
            self.integer()?
        } else {
            None
        };
        Ok(Step::Slice(first, second, step.unwrap_or(1)))
    }

    fn integer(&mut self) -> Result<Option<i64>, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = if digits.is_empty() {
            None
        } else {
            Some(
                digits
                    .parse()
                    .map_err(|_| self.wrong("invalid array index"))?,
            )
        };
        self.rest = rest;
        Ok(number)
    }

    fn compare(&mut self) -> Option<Compare> {
        const ALL: [(&str, Compare); 6] = [
            ("==", Compare::Equal),
            ("!=", Compare::Unequal),
            ("<=", Compare::LessEqual),
            (">=", Compare::GreaterEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ];
        ALL.into_iter()
            .find(|(token, _)| self.take(token))
            .map(|(_, compare)| compare)
    }

    fn operand(&mut self, depth: usize) -> Result<Operand, String> {
        if self.rest.starts_with(['@', '$', '.']) {
            return Ok(Operand::Path(self.path(depth + 1)?));
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Operand::Literal(Value::String(self.quoted()?)));
        }
        let end = self
            .rest
            .find([')', ' ', '=', '!', '<', '>'])
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let literal = serde_json::from_str(word)
            .map_err(|_| self.wrong(&format!("unrecognized literal {word}")))?;
        self.rest = rest;
        Ok(Operand::Literal(literal))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Template;

    fn object() -> Value {
        json!({"kind": "List", "items": [
            {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "n": 1, "c": [{"type": "Ready", "status": "True"}]},
            {"metadata": {"name": "b"}, "n": 2, "c": [{"type": "Ready", "status": "False"}]},
        ]})
    }

    #[test]
    fn templates_print_what_kubectl_prints() {
        for (template, want) in [
            ("{.kind}", "List"),
            (".kind", "List"),
            ("kind is {.kind}!", "kind is List!"),
            ("{.items[*].metadata.name}", "a b"),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1:].metadata.name}", "b"),
            ("{.items[0,1].n}", "1 2"),
            ("{.items[0:1].n}", "1"),
            (
                "{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}",
                "a\t1\nb\t2\n",
            ),
            ("{.items[?(@.n==2)].metadata.name}", "b"),
            (
                "{.items[?(@.metadata.name=='a')].c[?(@.type==\"Ready\")].status}",
                "True",
            ),
            ("{.items[?(@.metadata.labels)].n}", "1"),
            ("{.items[0].metadata.labels.x\\.y/z}", "1"),
            ("{.items[0].metadata.labels['x.y/z']}", "1"),
            ("{..name}", "a b"),
            ("{.missing.field}", ""),
            (
                "{.items[0].c}",
                "[{\"status\":\"True\",\"type\":\"Ready\"}]",
            ),
            ("{$.kind}", "List"),
        ] {
            let parsed = Template::parse(template).unwrap_or_else(|e| panic!("{template}: {e}"));
            assert_eq!(parsed.print(&object()).unwrap(), want, "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for template in [
            "{.a",
            "{range .a}{.b}",
            "{end}",
            "{.a[}",
            "{.a[?(@.b}",
            "{\"a}",
            "{.a[?(@.b==c)]}",
        ] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        assert!(
            Template::parse("{.items[5]}")
                .unwrap()
                .print(&object())
                .is_err()
        );
        assert!(Template::parse(&"{range .a}".repeat(1000)).is_err());
    }
}
