//! Every limit and price of the engine in one place, with upstream's numbers: what one unit of work
//! costs (cel-go `common/cost.go`), how much a call, a rule or a whole schema may cost
//! (`apiserver/pkg/apis/cel`, `apiextensions` schema validation), and how large a text may be.

/// Most that one evaluation may cost.
pub const PER_CALL: u64 = 1_000_000;
/// Most that all evaluations for one object (or one policy binding) may cost.
pub const RUNTIME_BUDGET: i64 = 10_000_000;
/// Most that the match conditions of one webhook (or policy) may cost.
pub const MATCH_CONDITIONS_BUDGET: i64 = 2_500_000;
/// Most that one rule of a custom resource's schema may be estimated to cost.
pub const RULE_ESTIMATE: u64 = 10_000_000;
/// Most that all rules of a custom resource's schema may be estimated to cost.
pub const SCHEMA_ESTIMATE: u64 = 100_000_000;
/// Longest message a `messageExpression` may make, in bytes.
pub const MESSAGE_BYTES: usize = 5 * 1024;
/// Largest request; what bounds the size of a text or list no schema bounds.
pub const REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// Longest expression, in code points.
pub const EXPRESSION_CODE_POINTS: usize = 100_000;
/// Deepest nesting of an expression.
pub const DEPTH: usize = 250;
/// Errors reported of one expression; the rest is counted.
pub const ERRORS: usize = 100;
/// Syntax errors after which parsing ends.
pub const SYNTAX_ERRORS: usize = 30;
/// A line longer than this is not shown beside an error.
pub const SNIPPET_BYTES: usize = 16_384;

/// Reading a variable or a field.
pub const SELECT: u64 = 1;
/// Making a list.
pub const LIST: u64 = 10;
/// Making a map.
pub const MAP: u64 = 30;
/// Making an object.
pub const STRUCT: u64 = 40;
/// Walking over one code point or byte of a text.
pub const TEXT_FACTOR: f64 = 0.1;
/// One code point of a regular expression.
pub const REGEX_FACTOR: f64 = 0.25;
/// One authorization check.
pub const AUTHORIZATION: u64 = 350_000;
/// Longest named format's name.
pub const FORMAT_BYTES: u64 = 64;
/// Size of the regular expression a named format is reckoned to use.
pub const FORMAT_REGEX: u64 = 128;

/// Longest duration in JSON.
pub const DURATION_TEXT: u64 = 32;
/// Longest date-time in JSON.
pub const DATE_TIME_TEXT: u64 = 32;
/// Shortest duration in JSON: `"0"` without a unit.
pub const SHORTEST_DURATION: u64 = 3;
/// A date in JSON.
pub const DATE_TEXT: u64 = 12;
/// Shortest date-time in JSON.
pub const SHORTEST_DATE_TIME: u64 = 21;
/// Shortest text in JSON.
pub const SHORTEST_TEXT: u64 = 2;
/// Shortest boolean in JSON.
pub const SHORTEST_BOOL: u64 = 4;
/// Shortest number in JSON.
pub const SHORTEST_NUMBER: u64 = 1;
