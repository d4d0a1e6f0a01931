//! Label selectors: the text form of query parameters and the structured `LabelSelector`.

use std::{collections::BTreeSet, fmt};

use schema::Value;

use crate::{names, object::Object};

/// A conjunction of requirements. The default one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: Box<str>,
    /// What its value must be.
    pub operator: Operator,
}

/// What a label's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// One of these.
    In(BTreeSet<Box<str>>),
    /// None of these, or the label is absent.
    NotIn(BTreeSet<Box<str>>),
    /// This (`=`, `==`).
    Equals(Box<str>),
    /// Not this, or the label is absent (`!=`).
    NotEquals(Box<str>),
    /// Anything, but present.
    Exists,
    /// Absent.
    NotExists,
    /// A whole number greater than this.
    Greater(i64),
    /// A whole number less than this.
    Less(i64),
}

/// Why a selector cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text is not of the form.
    #[error("unable to parse requirement: {0}")]
    Parse(String),
    /// The structured form has an operator that is none.
    #[error("\"{0}\" is not a valid label selector operator")]
    Operator(String),
    /// A value is missing, or there is one too many.
    #[error("{0}")]
    Values(String),
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Selector::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Selector {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// From labels that must all be equal.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirements = pairs
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.into(),
                operator: Operator::Equals(value.into()),
            })
            .collect();
        Selector {
            requirements,
            nothing: false,
        }
    }

    /// From a `map[string]string` as Services have it; an absent or empty one selects everything.
    pub fn from_map(map: &Value) -> Self {
        let pairs = map.as_object().into_iter().flatten();
        Selector::from_pairs(pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))))
    }

    /// From a `LabelSelector`: absent selects nothing, empty selects everything.
    pub fn from_label_selector(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Selector::nothing());
        }
        let fits = |key: &str, value: &str| {
            let wrongs = [names::qualified_name(key), names::label_value(value)].concat();
            match wrongs.into_iter().next() {
                Some(wrong) => Err(SelectorError::Values(wrong)),
                None => Ok(()),
            }
        };
        for (key, value) in selector.pairs("matchLabels") {
            fits(key, value.as_str().unwrap_or(""))?;
        }
        for expression in selector.list("matchExpressions") {
            let key = expression.text("key");
            fits(key, "")?;
            for value in expression.texts("values") {
                fits(key, value)?;
            }
        }
        let mut result = Selector::from_map(selector.at("matchLabels"));
        for expression in selector.list("matchExpressions") {
            let values =
                || -> BTreeSet<Box<str>> { expression.texts("values").map(Into::into).collect() };
            let operator = match expression.text("operator") {
                "In" => Operator::In(values()),
                "NotIn" => Operator::NotIn(values()),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::NotExists,
                other => return Err(SelectorError::Operator(other.to_owned())),
            };
            if let Operator::In(values) | Operator::NotIn(values) = &operator
                && values.is_empty()
            {
                return Err(SelectorError::Values(
                    "for 'in', 'notin' operators, values set can't be empty".to_owned(),
                ));
            }
            result.requirements.push(Requirement {
                key: expression.text("key").into(),
                operator,
            });
        }
        result.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(result)
    }

    /// From a node selector's requirement list (`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`).
    pub fn from_node_requirements(expressions: &[Value]) -> Result<Self, SelectorError> {
        let mut requirements = Vec::with_capacity(expressions.len());
        for expression in expressions {
            let values =
                || -> BTreeSet<Box<str>> { expression.texts("values").map(Into::into).collect() };
            let number = || {
                expression
                    .texts("values")
                    .next()
                    .and_then(|value| value.parse::<i64>().ok())
                    .ok_or_else(|| {
                        SelectorError::Values(
                            "for 'Gt', 'Lt' operators, the value must be an integer".into(),
                        )
                    })
            };
            let operator = match expression.text("operator") {
                "In" => Operator::In(values()),
                "NotIn" => Operator::NotIn(values()),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::NotExists,
                "Gt" => Operator::Greater(number()?),
                "Lt" => Operator::Less(number()?),
                other => return Err(SelectorError::Operator(other.to_owned())),
            };
            requirements.push(Requirement {
                key: expression.text("key").into(),
                operator,
            });
        }
        Ok(Selector {
            requirements,
            nothing: false,
        })
    }

    /// From the text form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser {
            tokens: Lexer { rest: text }.peekable(),
        };
        let mut requirements = parser.requirements().map_err(SelectorError::Parse)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        for requirement in &requirements {
            let wrongs = names::qualified_name(&requirement.key);
            if !wrongs.is_empty() {
                return Err(SelectorError::Parse(format!(
                    "<nil>: Invalid value: {:?}: {}",
                    &*requirement.key,
                    wrongs.join("; ")
                )));
            }
            let values: Vec<&str> = match &requirement.operator {
                Operator::In(values) | Operator::NotIn(values) => {
                    values.iter().map(|value| &**value).collect()
                }
                Operator::Equals(value) | Operator::NotEquals(value) => vec![value],
                _ => Vec::new(),
            };
            for value in values {
                let wrongs = names::label_value(value);
                if !wrongs.is_empty() {
                    return Err(SelectorError::Parse(format!(
                        "values[0][{}]: Invalid value: {value:?}: {}",
                        requirement.key,
                        wrongs.join("; ")
                    )));
                }
            }
        }
        Ok(Selector {
            requirements,
            nothing: false,
        })
    }

    /// Does it select everything?
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Its requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The value this label must have, when only one will do.
    pub fn exact(&self, key: &str) -> Option<&str> {
        self.requirements
            .iter()
            .filter(|requirement| &*requirement.key == key)
            .find_map(|requirement| match &requirement.operator {
                Operator::Equals(value) => Some(&**value),
                Operator::In(values) if values.len() == 1 => values.first().map(|value| &**value),
                _ => None,
            })
    }

    /// Do these labels satisfy it?
    pub fn matches<'a, I>(&self, labels: I) -> bool
    where
        I: IntoIterator<Item = (&'a str, &'a str)>,
        I::IntoIter: Clone,
    {
        let labels = labels.into_iter();
        self.matches_with(|key| {
            labels
                .clone()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value)
        })
    }

    /// Do the labels that `get` answers satisfy it?
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(get(&requirement.key)))
    }

    /// Do the labels of this object (or this map of labels) satisfy it?
    pub fn matches_object(&self, object: &Value) -> bool {
        let labels = object.at("metadata.labels");
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }
}

impl Requirement {
    /// Does this value (none: the label is absent) satisfy it?
    pub fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Equals(wanted) => value == Some(wanted),
            Operator::NotEquals(unwanted) => value != Some(unwanted),
            Operator::Exists => value.is_some(),
            Operator::NotExists => value.is_none(),
            Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
            Operator::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let key = &requirement.key;
            let list = |values: &BTreeSet<Box<str>>| {
                values.iter().map(|v| &**v).collect::<Vec<_>>().join(",")
            };
            match &requirement.operator {
                Operator::In(values) => write!(f, "{key} in ({})", list(values))?,
                Operator::NotIn(values) => write!(f, "{key} notin ({})", list(values))?,
                Operator::Equals(value) => write!(f, "{key}={value}")?,
                Operator::NotEquals(value) => write!(f, "{key}!={value}")?,
                Operator::Exists => write!(f, "{key}")?,
                Operator::NotExists => write!(f, "!{key}")?,
                Operator::Greater(bound) => write!(f, "{key}>{bound}")?,
                Operator::Less(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// Cuts the text into words and signs.
#[derive(Clone)]
struct Lexer<'a> {
    rest: &'a str,
}

fn is_sign(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

impl<'a> Iterator for Lexer<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let first = self.rest.chars().next()?;
        let end = if is_sign(first) {
            if self.rest.starts_with("==") || self.rest.starts_with("!=") {
                2
            } else {
                1
            }
        } else {
            self.rest
                .find(|c: char| is_sign(c) || c.is_ascii_whitespace())
                .unwrap_or(self.rest.len())
        };
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

struct Parser<'a> {
    tokens: std::iter::Peekable<Lexer<'a>>,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> &'a str {
        self.tokens.peek().copied().unwrap_or("")
    }

    fn next(&mut self) -> &'a str {
        self.tokens.next().unwrap_or("")
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            let token = self.peek();
            if token.is_empty() {
                return Ok(requirements);
            }
            if token != "!" && token.starts_with(is_sign) {
                return Err(format!(
                    "found '{token}', expected: !, identifier, or 'end of string'"
                ));
            }
            requirements.push(self.requirement()?);
            match self.next() {
                "" => return Ok(requirements),
                "," => {
                    let token = self.peek();
                    if token.is_empty() || (token != "!" && token.starts_with(is_sign)) {
                        return Err(format!("found '{token}', expected: identifier after ','"));
                    }
                }
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == "!";
        if absent {
            self.next();
        }
        let key = self.next();
        if key.is_empty() || key.starts_with(is_sign) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let key: Box<str> = key.into();
        if absent {
            return Ok(Requirement {
                key,
                operator: Operator::NotExists,
            });
        }
        if matches!(self.peek(), "" | ",") {
            return Ok(Requirement {
                key,
                operator: Operator::Exists,
            });
        }
        let operator = match self.next() {
            "=" | "==" => Operator::Equals(self.value()?.into()),
            "!=" => Operator::NotEquals(self.value()?.into()),
            ">" => Operator::Greater(self.number()?),
            "<" => Operator::Less(self.number()?),
            "in" => Operator::In(self.values()?),
            "notin" => Operator::NotIn(self.values()?),
            other => {
                return Err(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        Ok(Requirement { key, operator })
    }

    fn number(&mut self) -> Result<i64, String> {
        self.value()?
            .parse()
            .map_err(|_| "for 'Gt', 'Lt' operators, the value must be an integer".to_owned())
    }

    fn value(&mut self) -> Result<&'a str, String> {
        if matches!(self.peek(), "" | ",") {
            return Ok("");
        }
        let value = self.next();
        if value.starts_with(is_sign) {
            return Err(format!("found '{value}', expected: identifier"));
        }
        Ok(value)
    }

    fn values(&mut self) -> Result<BTreeSet<Box<str>>, String> {
        let open = self.next();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut values = BTreeSet::new();
        loop {
            match self.peek() {
                "," => {
                    values.insert("".into());
                }
                ")" => {
                    values.insert("".into());
                    self.next();
                    return Ok(values);
                }
                token if token.is_empty() || token.starts_with(is_sign) => {
                    return Err(format!("found '{token}', expected: ',', ')' or identifier"));
                }
                token => {
                    values.insert(token.into());
                    self.next();
                }
            }
            match self.next() {
                "," => {}
                ")" => return Ok(values),
                other => return Err(format!("found '{other}', expected: ',' or ')'")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LABELS: [(&str, &str); 3] = [("app", "web"), ("tier", "front"), ("n", "5")];

    #[test]
    fn text_selectors() {
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier=front", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (web, api)", true),
            ("app in (api)", false),
            ("app notin (api)", true),
            ("other notin (api)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("other", false),
            ("other=", false),
            ("app in (web),tier notin (back),!x,n", true),
            ("n>4", true),
            ("n<5", false),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Selector::parse(text).unwrap().matches(LABELS),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn bad_text_selectors() {
        let cases = [
            (
                "app=web,",
                "unable to parse requirement: found '', expected: identifier after ','",
            ),
            (
                "=web",
                "unable to parse requirement: found '=', expected: !, identifier, or 'end of string'",
            ),
            (
                "app web",
                "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt",
            ),
            (
                "app in web",
                "unable to parse requirement: found 'web' expected: '('",
            ),
            (
                "app in (web",
                "unable to parse requirement: found '', expected: ',' or ')'",
            ),
            (
                "app=web)",
                "unable to parse requirement: found ')', expected: ',' or 'end of string'",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(
                Selector::parse(text).unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
        assert!(Selector::parse("a b/c=d").is_err());
        assert!(Selector::parse("-x=d").is_err());
    }

    #[test]
    fn text_comes_back() {
        for text in ["a=b", "a in (b,c)", "a notin (b)", "a", "!a", "a!=b,c=d"] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn structured_selectors() {
        let of = |value| {
            Selector::from_label_selector(&value)
                .unwrap()
                .matches(LABELS)
        };
        assert!(!of(json!(null)));
        assert!(of(json!({})));
        assert!(of(json!({"matchLabels": {"app": "web"}})));
        assert!(!of(json!({"matchLabels": {"app": "api"}})));
        assert!(of(
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "x"]}]})
        ));
        assert!(!of(
            json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})
        ));
        let bad = Selector::from_label_selector(
            &json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}),
        );
        assert_eq!(
            bad.unwrap_err().to_string(),
            "\"Is\" is not a valid label selector operator"
        );
    }
}
