//! The argument parsing that all programs share.

use super::{number, options};

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_string()).collect()
}

#[test]
fn options_are_taken_in_both_spellings_and_the_rest_is_left() {
    let ([port, seconds], rest) = options(
        &strings(&["--port", "80", "x", "--seconds=3", "y"]),
        ["port", "seconds"],
    )
    .unwrap();
    assert_eq!(
        (port.as_deref(), seconds.as_deref()),
        (Some("80"), Some("3"))
    );
    assert_eq!(rest, ["x", "y"]);
}

#[test]
fn wrong_options_are_named() {
    assert_eq!(
        options(&strings(&["--prot", "80"]), ["port"]).unwrap_err(),
        "no such option: --prot"
    );
    assert_eq!(
        options(&strings(&["--port"]), ["port"]).unwrap_err(),
        "--port needs a value"
    );
    assert_eq!(
        number::<u16>(Some("70000".into()), 1).unwrap_err(),
        "not a number: 70000"
    );
}
