//! The parser: tokens to an expression tree, with macros expanded on the way. Errors are worded as the
//! reference parser's; after an error it can mend (a missing bracket, a token too many) it goes on.

use std::sync::Arc;

use crate::{
    ast::{Call, Element, Entry, Expr, Field, Id, Kind, Literal, Select, operator},
    environment::Environment,
    escape::RESERVED,
    lexer::{Lexeme, Token, lex},
    limits,
    source::Issues,
};

mod literal;
mod macros;

/// What the parser makes.
pub(crate) struct Parsed {
    pub expr: Expr,
    /// Code-point offset of each node.
    pub positions: Vec<u32>,
}

/// What ends parsing early; already reported.
struct Abandon;

type Parse<T> = Result<T, Abandon>;

struct Parser<'t, 'i> {
    lexemes: &'i [Lexeme<'t>],
    next: usize,
    issues: &'i mut Issues,
    positions: Vec<u32>,
    environment: &'i Environment,
    /// How deep the parser stands in nested expressions, and in chains of operators and members.
    nested: usize,
    chained: usize,
    mended: usize,
}

/// What an expression can begin with, as messages list it.
const BEGINNINGS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Parses a text whose tokens are `lexemes`; what is wrong is reported to `issues`.
pub(crate) fn parse(
    lexemes: &[Lexeme<'_>],
    environment: &Environment,
    issues: &mut Issues,
) -> Option<Parsed> {
    let mut parser = Parser {
        lexemes,
        next: 0,
        issues,
        positions: Vec::new(),
        environment,
        nested: 0,
        chained: 0,
        mended: 0,
    };
    let expr = parser.expression().ok()?;
    parser.expect(Token::End, "<EOF>", "<EOF>").ok()?;
    Some(Parsed {
        expr,
        positions: parser.positions,
    })
}

/// The tokens of a text; none where it is too long.
pub(crate) fn tokens<'t>(text: &'t str, issues: &mut Issues) -> Option<Vec<Lexeme<'t>>> {
    let size = text.chars().count();
    if size > limits::EXPRESSION_CODE_POINTS {
        issues.report(
            None,
            format!(
                "expression code point size exceeds limit: size: {size}, limit {}",
                limits::EXPRESSION_CODE_POINTS
            ),
        );
        return None;
    }
    Some(lex(text, issues))
}

/// Operators from the loosest to the tightest; `&&` and `||` are apart, their chains are balanced.
fn binary(token: Token) -> Option<(u8, &'static str)> {
    Some(match token {
        Token::Less => (1, "_<_"),
        Token::LessEqual => (1, "_<=_"),
        Token::Greater => (1, "_>_"),
        Token::GreaterEqual => (1, "_>=_"),
        Token::EqualEqual => (1, operator::EQUALS),
        Token::NotEqual => (1, operator::NOT_EQUALS),
        Token::In => (1, "@in"),
        Token::Plus => (2, operator::ADD),
        Token::Minus => (2, "_-_"),
        Token::Star => (3, "_*_"),
        Token::Slash => (3, "_/_"),
        Token::Percent => (3, "_%_"),
        _ => return None,
    })
}

impl<'t> Parser<'t, '_> {
    fn peek(&self) -> Lexeme<'t> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Lexeme<'t> {
        // The last token is the end, which is never passed.
        let last = self.lexemes.len() - 1;
        self.lexemes[(self.next + by).min(last)]
    }

    fn take(&mut self) -> Lexeme<'t> {
        let lexeme = self.peek();
        if lexeme.token != Token::End {
            self.next += 1;
        }
        lexeme
    }

    fn accept(&mut self, token: Token) -> Option<Lexeme<'t>> {
        (self.peek().token == token).then(|| self.take())
    }

    fn syntax(&mut self, at: Lexeme<'t>, message: String) -> Parse<()> {
        self.issues
            .report(Some(at.offset), format!("Syntax error: {message}"));
        self.mended += 1;
        if self.mended > limits::SYNTAX_ERRORS {
            return Err(Abandon);
        }
        Ok(())
    }

    /// Takes a token that has to stand here: skips one that does not belong, or goes on as if it stood
    /// here where the text has ended.
    fn expect(&mut self, token: Token, wanted: &str, expecting: &str) -> Parse<()> {
        if self.accept(token).is_some() || (token == Token::End && self.peek().token == token) {
            return Ok(());
        }
        let here = self.peek();
        if here.token == Token::End {
            return self.syntax(here, format!("missing '{wanted}' at '<EOF>'"));
        }
        if self.ahead(1).token == token {
            self.syntax(
                here,
                format!("extraneous input '{}' expecting {expecting}", here.text),
            )?;
            self.take();
            self.take();
            return Ok(());
        }
        let _ = self.syntax(
            here,
            format!("mismatched input '{}' expecting {expecting}", here.text),
        );
        Err(Abandon)
    }

    fn id(&mut self, offset: u32) -> Id {
        self.positions.push(offset);
        (self.positions.len() - 1) as Id
    }

    fn node(&mut self, offset: u32, kind: Kind) -> Expr {
        Expr {
            id: self.id(offset),
            kind,
        }
    }

    fn error(&mut self, offset: u32, message: impl Into<String>) -> Expr {
        self.issues.report(Some(offset), message);
        self.node(offset, Kind::Missing)
    }

    fn too_deep(&mut self) -> Abandon {
        self.issues.report(
            None,
            format!("expression recursion limit exceeded: {}", limits::DEPTH),
        );
        Abandon
    }

    fn chain(&mut self) -> Parse<()> {
        self.chained += 1;
        if self.chained > limits::DEPTH {
            return Err(self.too_deep());
        }
        Ok(())
    }

    fn expression(&mut self) -> Parse<Expr> {
        self.nested += 1;
        if self.nested > limits::DEPTH {
            return Err(self.too_deep());
        }
        let condition = self.or()?;
        let expr = match self.accept(Token::Question) {
            None => condition,
            Some(question) => {
                let id = self.id(question.offset);
                let yes = self.or()?;
                self.expect(Token::Colon, ":", "':'")?;
                let no = self.expression()?;
                self.call(id, operator::CONDITIONAL, None, vec![condition, yes, no])
            }
        };
        self.nested -= 1;
        Ok(expr)
    }

    fn or(&mut self) -> Parse<Expr> {
        let mut terms = vec![self.and()?];
        let mut operators = Vec::new();
        while let Some(or) = self.accept(Token::Or) {
            let term = self.and()?;
            operators.push(self.id(or.offset));
            terms.push(term);
        }
        Ok(balanced(operator::OR, terms, &operators))
    }

    fn and(&mut self) -> Parse<Expr> {
        let mut terms = vec![self.binary(1)?];
        let mut operators = Vec::new();
        while let Some(and) = self.accept(Token::And) {
            let term = self.binary(1)?;
            operators.push(self.id(and.offset));
            terms.push(term);
        }
        Ok(balanced(operator::AND, terms, &operators))
    }

    fn binary(&mut self, tightness: u8) -> Parse<Expr> {
        let mut left = self.unary()?;
        let chained = self.chained;
        while let Some((own, function)) = binary(self.peek().token) {
            if own < tightness {
                break;
            }
            self.chain()?;
            let here = self.take();
            let id = self.id(here.offset);
            let right = self.binary(own + 1)?;
            left = self.call(id, function, None, vec![left, right]);
        }
        self.chained = chained;
        Ok(left)
    }

    fn unary(&mut self) -> Parse<Expr> {
        let first = self.peek();
        let (token, function) = match first.token {
            Token::Not => (Token::Not, operator::NOT),
            Token::Minus if !self.signed_number() => (Token::Minus, operator::NEGATE),
            _ => return self.member(),
        };
        let mut count = 0usize;
        // A run of minus signs takes the number's own sign too: `--1` is `1`.
        while self.peek().token == token {
            self.take();
            count += 1;
        }
        if count.is_multiple_of(2) {
            return self.member();
        }
        let id = self.id(first.offset);
        let operand = self.member()?;
        Ok(self.call(id, function, None, vec![operand]))
    }

    /// Is this a minus that belongs to the number after it?
    fn signed_number(&self) -> bool {
        self.peek().token == Token::Minus
            && matches!(self.ahead(1).token, Token::Int | Token::Float)
    }

    fn member(&mut self) -> Parse<Expr> {
        let mut expr = self.primary()?;
        let chained = self.chained;
        loop {
            let here = self.peek();
            match here.token {
                Token::Dot => {
                    self.chain()?;
                    self.take();
                    expr = self.select(expr, here)?;
                }
                Token::OpenBracket => {
                    self.chain()?;
                    self.take();
                    let optional = self.accept(Token::Question).is_some();
                    let id = self.id(here.offset);
                    let index = self.expression()?;
                    self.expect(Token::CloseBracket, "]", "']'")?;
                    let function = if optional {
                        operator::OPTIONAL_INDEX
                    } else {
                        operator::INDEX
                    };
                    expr = self.call(id, function, None, vec![expr, index]);
                }
                _ => break,
            }
        }
        self.chained = chained;
        Ok(expr)
    }

    /// What follows a dot.
    fn select(&mut self, operand: Expr, dot: Lexeme<'t>) -> Parse<Expr> {
        let optional = self.accept(Token::Question).is_some();
        let name = self.peek();
        match name.token {
            Token::Ident => {}
            Token::Quoted => {
                self.take();
                return Ok(self.error(name.offset, "unsupported syntax: '`'"));
            }
            Token::True | Token::False | Token::Null => {
                self.syntax(
                    name,
                    format!("mismatched input '{}' expecting IDENTIFIER", name.text),
                )?;
                return Err(Abandon);
            }
            Token::End => {
                self.syntax(name, "no viable alternative at input '.'".to_owned())?;
                return Err(Abandon);
            }
            _ => {
                self.syntax(
                    name,
                    format!("no viable alternative at input '.{}'", name.text),
                )?;
                return Err(Abandon);
            }
        }
        self.take();
        if optional {
            let field = self.node(
                name.offset,
                Kind::Literal(Literal::String(name.text.into())),
            );
            let id = self.id(dot.offset);
            return Ok(self.plain_call(id, operator::OPTIONAL_SELECT, None, vec![operand, field]));
        }
        if let Some(open) = self.accept(Token::OpenParen) {
            let id = self.id(open.offset);
            let args = self.arguments()?;
            return Ok(self.call(id, name.text, Some(operand), args));
        }
        Ok(self.node(
            dot.offset,
            Kind::Select(Box::new(Select {
                operand,
                field: name.text.into(),
                test: false,
            })),
        ))
    }

    /// Expressions up to the closing parenthesis.
    fn arguments(&mut self) -> Parse<Vec<Expr>> {
        let mut args = Vec::new();
        if self.accept(Token::CloseParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.accept(Token::Comma).is_none() {
                break;
            }
        }
        self.expect(Token::CloseParen, ")", "{')', ','}")?;
        Ok(args)
    }

    fn primary(&mut self) -> Parse<Expr> {
        let here = self.peek();
        match here.token {
            Token::Ident => self.named(here, ""),
            Token::Dot => {
                self.take();
                if self.peek().token != Token::Ident {
                    let name = self.peek();
                    self.syntax(
                        name,
                        format!("mismatched input '{}' expecting IDENTIFIER", name.text),
                    )?;
                    return Err(Abandon);
                }
                self.named(here, ".")
            }
            Token::OpenParen => {
                self.take();
                let inner = self.expression()?;
                self.expect(Token::CloseParen, ")", "')'")?;
                Ok(inner)
            }
            Token::OpenBracket => {
                self.take();
                self.list(here)
            }
            Token::OpenBrace => {
                self.take();
                self.map(here)
            }
            Token::Minus
            | Token::Int
            | Token::Uint
            | Token::Float
            | Token::String
            | Token::Bytes
            | Token::True
            | Token::False
            | Token::Null => self.literal(here),
            _ => {
                if here.token != Token::End && begins(self.ahead(1).token) {
                    self.syntax(
                        here,
                        format!("extraneous input '{}' expecting {BEGINNINGS}", here.text),
                    )?;
                    self.take();
                    return self.unary();
                }
                let _ = self.syntax(
                    here,
                    format!("mismatched input '{}' expecting {BEGINNINGS}", here.text),
                );
                Err(Abandon)
            }
        }
    }

    /// A variable, a function's call, or an object's construction.
    fn named(&mut self, first: Lexeme<'t>, lead: &str) -> Parse<Expr> {
        let name = self.take();
        if let Some(dotted) = self.object_name() {
            let mut full = format!("{lead}{}", name.text);
            for _ in 0..dotted {
                self.take();
                full.push('.');
                full.push_str(self.take().text);
            }
            let open = self.take();
            return self.object(full.into(), open);
        }
        if RESERVED.contains(&name.text) {
            if self.accept(Token::OpenParen).is_some() {
                self.arguments()?;
            }
            return Ok(self.error(first.offset, format!("reserved identifier: {}", name.text)));
        }
        let full: Arc<str> = format!("{lead}{}", name.text).into();
        if let Some(open) = self.accept(Token::OpenParen) {
            let id = self.id(open.offset);
            let args = self.arguments()?;
            return Ok(self.call(id, &full, None, args));
        }
        Ok(self.node(name.offset, Kind::Ident(full)))
    }

    /// How many `.name` follow before an opening brace, if one follows.
    fn object_name(&self) -> Option<usize> {
        let mut count = 0;
        while self.ahead(2 * count).token == Token::Dot
            && self.ahead(2 * count + 1).token == Token::Ident
        {
            count += 1;
        }
        (self.ahead(2 * count).token == Token::OpenBrace).then_some(count)
    }

    fn list(&mut self, open: Lexeme<'t>) -> Parse<Expr> {
        let id = self.id(open.offset);
        let mut elements = Vec::new();
        while !matches!(self.peek().token, Token::CloseBracket | Token::End) {
            let optional = self.accept(Token::Question).is_some();
            let value = self.expression()?;
            elements.push(Element { value, optional });
            if self.accept(Token::Comma).is_none() {
                break;
            }
        }
        self.expect(Token::CloseBracket, "]", "{']', ','}")?;
        Ok(Expr {
            id,
            kind: Kind::List(elements),
        })
    }

    fn map(&mut self, open: Lexeme<'t>) -> Parse<Expr> {
        let id = self.id(open.offset);
        let mut entries = Vec::new();
        while !matches!(self.peek().token, Token::CloseBrace | Token::End) {
            let optional = self.accept(Token::Question).is_some();
            let key = self.expression()?;
            self.expect(Token::Colon, ":", "':'")?;
            let value = self.expression()?;
            entries.push(Entry {
                key,
                value,
                optional,
            });
            if self.accept(Token::Comma).is_none() {
                break;
            }
        }
        self.expect(Token::CloseBrace, "}", "{'}', ','}")?;
        Ok(Expr {
            id,
            kind: Kind::Map(entries),
        })
    }

    fn object(&mut self, name: Arc<str>, open: Lexeme<'t>) -> Parse<Expr> {
        let id = self.id(open.offset);
        let mut fields = Vec::new();
        while !matches!(self.peek().token, Token::CloseBrace | Token::End) {
            let optional = self.accept(Token::Question).is_some();
            let field = self.peek();
            self.expect(
                Token::Ident,
                "IDENTIFIER",
                "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}",
            )?;
            let colon = self.peek();
            self.expect(Token::Colon, ":", "':'")?;
            let id = self.id(colon.offset);
            let value = self.expression()?;
            fields.push(Field {
                id,
                name: field.text.into(),
                value,
                optional,
            });
            if self.accept(Token::Comma).is_none() {
                break;
            }
        }
        self.expect(Token::CloseBrace, "}", "{'}', ','}")?;
        Ok(Expr {
            id,
            kind: Kind::Struct(name, fields),
        })
    }

    fn literal(&mut self, first: Lexeme<'t>) -> Parse<Expr> {
        let negative = self.accept(Token::Minus).is_some();
        let lexeme = self.take();
        if negative && !matches!(lexeme.token, Token::Int | Token::Float) {
            let _ = self.syntax(
                lexeme,
                format!("mismatched input '{}' expecting {BEGINNINGS}", lexeme.text),
            );
            return Err(Abandon);
        }
        Ok(match literal::read(lexeme, negative) {
            Ok(literal) => self.node(first.offset, Kind::Literal(literal)),
            Err(message) => self.error(first.offset, message),
        })
    }

    /// A call, or what it stands for where it is a macro.
    fn call(&mut self, id: Id, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        match self.expand(id, function, target, args) {
            Ok(expr) => expr,
            Err((target, args)) => self.plain_call(id, function, target, args),
        }
    }

    fn plain_call(
        &mut self,
        id: Id,
        function: &str,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Expr {
        Expr {
            id,
            kind: Kind::Call(Box::new(Call {
                function: function.into(),
                target,
                args,
            })),
        }
    }
}

fn begins(token: Token) -> bool {
    matches!(
        token,
        Token::OpenBracket
            | Token::OpenBrace
            | Token::OpenParen
            | Token::Dot
            | Token::Minus
            | Token::Not
            | Token::True
            | Token::False
            | Token::Null
            | Token::Float
            | Token::Int
            | Token::Uint
            | Token::String
            | Token::Bytes
            | Token::Ident
    )
}

/// A chain of `&&` or `||` as a balanced tree, so that long chains are not deep.
fn balanced(function: &str, mut terms: Vec<Expr>, operators: &[Id]) -> Expr {
    fn build(function: &Arc<str>, terms: &mut Vec<Expr>, operators: &[Id]) -> Option<Expr> {
        if operators.is_empty() {
            return terms.pop();
        }
        let middle = operators.len() / 2;
        // The terms are taken from the end, so the right half comes first.
        let right = build(function, terms, &operators[middle + 1..])?;
        let left = build(function, terms, &operators[..middle])?;
        Some(Expr {
            id: operators[middle],
            kind: Kind::Call(Box::new(Call {
                function: function.clone(),
                target: None,
                args: vec![left, right],
            })),
        })
    }
    if operators.is_empty()
        && let Some(only) = terms.pop()
    {
        return only;
    }
    build(&function.into(), &mut terms, operators).unwrap_or(Expr {
        id: 0,
        kind: Kind::Missing,
    })
}
