//! Texts nobody means: random, deep, long. Nothing panics, and nothing takes more time or memory than
//! its limits allow. `CEL_FUZZ_CASES` sets how many random texts are tried.

use cel::{Activation, Budget, Environment, Program, Type};
use proptest::prelude::*;

fn environment() -> Environment {
    Environment::new()
        .with("object", Type::Dyn)
        .with("list", Type::list(Type::Int))
        .with_library(cel::Library::Mutation)
        .with_library(cel::Library::Bindings)
}

/// Compiles, estimates and evaluates; whether it does is another matter.
fn run(text: &str) {
    let environment = environment();
    let Ok(program) = Program::compile(text, &environment) else {
        return;
    };
    let estimate = program.cost_estimate(&());
    assert!(estimate.min <= estimate.max, "{text}");
    let object = serde_json::json!({"a": [1, {"b": null}, "c"], "d": {"e": 1.5, "f": true}});
    let numbers = serde_json::json!([3, 1, 2]);
    let mut activation = Activation::new();
    activation.set_json("object", &object);
    activation.set_json("list", &numbers);
    let mut budget = Budget::new(100_000).per_call(100_000);
    if let Ok(value) = program.evaluate(&activation, &mut budget) {
        let _ = value.to_json();
        let _ = value.to_string();
    }
}

fn cases() -> u32 {
    std::env::var("CEL_FUZZ_CASES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(2_000)
}

/// Bits of expressions, so that random texts are often right enough to be evaluated.
const WORDS: &[&str] = &[
    "object",
    "list",
    "object.a",
    "object.?d",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ".",
    ",",
    "?",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "<",
    ">",
    "==",
    "!=",
    "&&",
    "||",
    "!",
    " in ",
    "1",
    "0",
    "-1",
    "2u",
    "1.5",
    "'a'",
    "''",
    "b'x'",
    "null",
    "true",
    "false",
    ".all(x, ",
    ".map(x, ",
    ".filter(x, ",
    ".exists(x, ",
    ".exists_one(x, ",
    ".all(i, v, ",
    ".transformMap(k, v, ",
    ".optMap(x, ",
    ".sortBy(x, ",
    "x",
    "has(",
    "size(",
    ".size()",
    "string(",
    "int(",
    "dyn(",
    "type(",
    ".orValue(",
    ".value()",
    "optional.of(",
    "optional.none()",
    "[?0]",
    ".?a",
    "duration('1s')",
    "timestamp('2024-01-01T00:00:00Z')",
    ".getHours('+01:00')",
    ".matches('a+')",
    ".split('')",
    ".join(',')",
    ".replace('', 'ab')",
    ".format([",
    "'%s %d'",
    "ip('::1')",
    "cidr('10.0.0.0/8')",
    "quantity('1k')",
    "semver('1.2.3')",
    "url('https://a/b')",
    ".sort()",
    ".flatten()",
    ".slice(0, 1)",
    "lists.range(",
    "sets.contains(",
    "cel.bind(y, ",
    "y",
    "Object{",
    "spec: ",
    "JSONPatch{op: ",
    "r'\\'",
    "\"\\u00e9\"",
    "// c\n",
    "namespace",
    "\u{1f600}",
    "\\",
    "`a`",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,60}") {
        run(&text);
    }

    #[test]
    fn words_in_any_order(words in prop::collection::vec(prop::sample::select(WORDS), 0..24)) {
        run(&words.concat());
    }

    #[test]
    fn closed_words(words in prop::collection::vec(prop::sample::select(WORDS), 1..16)) {
        // Brackets are closed, so that more of them compile.
        let mut text = String::new();
        let mut open = Vec::new();
        for word in words {
            text.push_str(word);
            for c in word.chars() {
                match c {
                    '(' => open.push(')'),
                    '[' => open.push(']'),
                    '{' => open.push('}'),
                    ')' | ']' | '}' => { open.pop(); }
                    _ => {}
                }
            }
        }
        text.extend(open.iter().rev());
        run(&text);
    }
}

#[test]
fn deep_and_long_texts() {
    let nested = |open: &str, close: &str, count: usize| {
        format!("{}1{}", open.repeat(count), close.repeat(count))
    };
    let chain = |link: &str, count: usize| format!("object{}", link.repeat(count));
    for text in [
        nested("(", ")", 240),
        nested("(", ")", 100_000 / 2 - 10),
        nested("[", "]", 240),
        nested("[", "]", 40_000),
        nested("!", "", 90_000),
        nested("-", "", 90_000),
        nested("true ? 1 : ", "", 9_000),
        nested("size([", "])", 9_000),
        nested("[1].map(x, ", ")", 120),
        nested("[1].map(x, ", ")", 9_000),
        chain(".a", 240),
        chain(".a", 40_000),
        chain("[0]", 30_000),
        chain(".optMap(x, x)", 100),
        chain(".optMap(x, x)", 7_000),
        chain(" + 1", 20_000),
        chain(" && true", 12_000),
        chain(" || true", 12_000),
        format!("[{}]", "1,".repeat(49_000)),
        format!("{{{}}}", "'a':1,".repeat(16_000)),
        format!("'{}'", "a".repeat(99_000)),
        format!("'a'.matches('{}')", "(".repeat(90_000)),
        format!("'a'.matches('{}')", "a{1,1000}".repeat(1_000)),
        "a".repeat(100_001),
        "lists.range(9223372036854775807)".to_owned(),
        "lists.range(1000000).map(x, lists.range(1000000))".to_owned(),
        "list.all(a, list.all(b, list.all(c, list.all(d, list.all(e, list.all(f, list.all(g, list.all(h, list.all(i, true)))))))))".to_owned(),
        "'a'.replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaa').replace('', 'aaaaaaaaaa')".to_owned(),
        "'%.999999999f'.format([1.0])".to_owned(),
        "duration('99999999999999999999h')".to_owned(),
        "timestamp('2024-01-01T00:00:00Z').getHours('99999999999:99999999999')".to_owned(),
    ] {
        run(&text);
    }
}
