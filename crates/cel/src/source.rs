//! An expression's text with its lines, and errors that point into it as cel-go prints them.

use std::fmt;

use crate::limits;

/// One thing wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Line, from 1; -1 where the error has no place.
    pub line: i32,
    /// Column in code points, from 0; -1 where the error has no place.
    pub column: i32,
    /// What is wrong.
    pub message: String,
}

/// Everything wrong with an expression. Displayed as upstream prints it, with the line and a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// In the order of their places.
    pub issues: Vec<Issue>,
    text: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CompileError {}

impl CompileError {
    /// One error without a place, not printed as a syntax or type error is.
    pub(crate) fn plain(message: String) -> Self {
        Self {
            issues: vec![Issue {
                line: -1,
                column: -1,
                message: message.clone(),
            }],
            text: message,
        }
    }

    /// The error after a word on what it is of, as upstream introduces it: `compilation failed: …`. An
    /// expression that checks but cannot be run (`int('a')`) says so itself.
    pub fn described(&self, what: &str) -> String {
        let runs = self.issues.iter().any(|issue| issue.line > 0);
        if runs || !self.text.starts_with("program instantiation") {
            return format!("{what}: {}", self.text);
        }
        self.text.clone()
    }
}

/// A text and where its lines begin.
pub(crate) struct Source<'t> {
    text: &'t str,
    /// Code-point offsets of the lines after the first.
    lines: Vec<u32>,
}

/// Errors as they are found.
#[derive(Default)]
pub(crate) struct Issues {
    found: Vec<(Option<u32>, String)>,
    total: usize,
}

impl Issues {
    /// At a code-point offset, or nowhere.
    pub fn report(&mut self, offset: Option<u32>, message: impl Into<String>) {
        self.total += 1;
        if self.found.len() < limits::ERRORS {
            self.found.push((offset, message.into()));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl<'t> Source<'t> {
    pub fn new(text: &'t str) -> Self {
        let lines = text
            .chars()
            .zip(1..)
            .filter_map(|(c, offset)| (c == '\n').then_some(offset))
            .collect();
        Self { text, lines }
    }

    fn locate(&self, offset: Option<u32>) -> (i32, i32) {
        let Some(offset) = offset else {
            return (-1, -1);
        };
        let line = self.lines.partition_point(|&start| start <= offset);
        let start = if line == 0 { 0 } else { self.lines[line - 1] };
        (line as i32 + 1, (offset - start) as i32)
    }

    fn snippet(&self, line: i32) -> Option<&'t str> {
        let line = usize::try_from(line - 1).ok()?;
        self.text
            .split('\n')
            .nth(line)
            .filter(|_| !self.text.is_empty())
    }

    /// The errors in order, printed.
    pub fn error(&self, issues: Issues) -> CompileError {
        let mut placed: Vec<Issue> = issues
            .found
            .into_iter()
            .map(|(offset, message)| {
                let (line, column) = self.locate(offset);
                Issue {
                    line,
                    column,
                    message,
                }
            })
            .collect();
        placed.sort_by_key(|issue| (issue.line, issue.column));
        let mut shown: Vec<String> = placed.iter().map(|issue| self.print(issue)).collect();
        if issues.total > limits::ERRORS {
            shown.push(format!(
                "{} more errors were truncated",
                issues.total - limits::ERRORS
            ));
        }
        CompileError {
            issues: placed,
            text: shown.join("\n"),
        }
    }

    fn print(&self, issue: &Issue) -> String {
        let mut text = format!(
            "ERROR: <input>:{}:{}: {}",
            issue.line,
            issue.column + 1,
            issue.message
        );
        let snippet = self
            .snippet(issue.line)
            .filter(|snippet| snippet.len() <= limits::SNIPPET_BYTES);
        let Some(snippet) = snippet else {
            return text;
        };
        text.push_str("\n | ");
        text.extend(snippet.chars().map(|c| if c == '\t' { ' ' } else { c }));
        text.push_str("\n | ");
        // Characters outside of ASCII are as wide as full-width forms.
        let mut chars = snippet.chars();
        for _ in 0..issue.column {
            match chars.next() {
                Some(c) => text.push(if c.len_utf8() > 1 { '．' } else { '.' }),
                None => break,
            }
        }
        let wide = chars.next().is_some_and(|c| c.len_utf8() > 1);
        text.push(if wide { '＾' } else { '^' });
        text
    }
}
