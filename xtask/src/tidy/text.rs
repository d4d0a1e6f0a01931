//! What a single file may not do.

use super::Source;

/// Lines a Rust file may have.
const LONGEST: usize = 1000;
/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["common", "utils", "util", "helpers", "helper", "misc"];
/// Where `unsafe` may stand.
const UNSAFE_CRATES: &[&str] = &["crates/runtime/", "crates/network/"];

/// Marks of unfinished work, spelled apart so that this file does not find itself.
fn marks() -> [String; 5] {
    [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["to", "do!("],
        ["unimpl", "emented!("],
        ["XX", "X:"],
    ]
    .map(|parts| parts.concat())
}

/// Checks one file.
pub fn check(source: &Source, complaints: &mut Vec<String>) {
    let mut complain =
        |line: usize, what: String| complaints.push(format!("{}:{line}: {what}", source.path));
    for part in source.path.split(['/', '.']) {
        if EMPTY_NAMES.contains(&part) {
            complain(1, format!("`{part}` says nothing; name the thing"));
        }
    }
    // This folder's own texts name what they look for.
    if !source.is_rust() || source.is_generated() || source.path.starts_with("xtask/src/tidy/") {
        return;
    }
    let lines = source.text.lines().count();
    if lines > LONGEST {
        complain(
            1,
            format!("{lines} lines; split it by meaning (at most {LONGEST})"),
        );
    }
    if !source
        .text
        .lines()
        .find(|l| !l.trim().is_empty())
        .is_some_and(documents)
    {
        complain(
            1,
            "no `//!`: say what the module is for and where it stands".into(),
        );
    }
    let marks = marks();
    let may_be_unsafe = UNSAFE_CRATES.iter().any(|c| source.path.starts_with(c));
    for (number, line) in source.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if let Some(mark) = marks.iter().find(|m| line.contains(m.as_str())) {
            complain(
                number + 1,
                format!("`{mark}`: finish it, refuse it with an error, or leave it out"),
            );
        }
        if !may_be_unsafe
            && (code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("allow(unsafe_code)"))
        {
            complain(
                number + 1,
                "unsafe code is for crates/runtime and crates/network".into(),
            );
        }
        if code.contains("#[ignore") {
            complain(number + 1, "a test is run or removed, not ignored".into());
        }
        if source.is_test()
            && (code.contains("thread::sleep(") || code.contains("time::sleep("))
            && !in_loop(&source.text, number)
        {
            complain(
                number + 1,
                "a test waits for a condition, it does not sleep".into(),
            );
        }
    }
}

fn documents(line: &str) -> bool {
    line.starts_with("//!") || line.starts_with("#![")
}

/// A pause between two looks for a condition stands in a loop.
fn in_loop(text: &str, number: usize) -> bool {
    const NEAR: usize = 25;
    let before = text.lines().take(number).skip(number.saturating_sub(NEAR));
    before
        .into_iter()
        .any(|line| line.contains("loop {") || line.trim_start().starts_with("while "))
}
