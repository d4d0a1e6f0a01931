//! Each rule finds what it is for, and nothing else.

use super::{Source, floors, text};

fn complaints(path: &str, content: &str) -> Vec<String> {
    let mut found = Vec::new();
    text::check(
        &Source {
            path: path.into(),
            text: content.into(),
        },
        &mut found,
    );
    found
}

#[test]
fn a_plain_module_passes() {
    assert_eq!(
        complaints("crates/api/src/a.rs", "//! A.\n\nfn a() {}\n"),
        Vec::<String>::new()
    );
}

#[test]
fn each_fault_is_found_where_it_is() {
    let unsafe_block = ["unsa", "fe { x() }"].concat();
    let cases = [
        (
            "crates/api/src/a.rs",
            "fn a() {}\n".to_string(),
            "crates/api/src/a.rs:1: no `//!`",
        ),
        (
            "crates/api/src/utils.rs",
            "//! A.\n".to_string(),
            "crates/api/src/utils.rs:1: `utils` says nothing",
        ),
        (
            "crates/api/src/a.rs",
            format!("//! A.\n{unsafe_block}\n"),
            "crates/api/src/a.rs:2: unsafe code",
        ),
        (
            "crates/api/src/a.rs",
            format!("//! A.\n// {}\n", ["TO", "DO"].concat()),
            "crates/api/src/a.rs:2: `",
        ),
        (
            "crates/api/src/a.rs",
            format!("//! A.\n{}", "\n".repeat(1000)),
            "crates/api/src/a.rs:1: 1001 lines",
        ),
        (
            "crates/api/tests/a.rs",
            format!("//! A.\n{}\n", ["thread::", "sleep(x)"].concat()),
            "crates/api/tests/a.rs:2: a test waits",
        ),
    ];
    for (path, content, want) in cases {
        let found = complaints(path, &content);
        assert!(
            found.len() == 1 && found[0].starts_with(want),
            "{found:?} should be {want}"
        );
    }
    assert!(
        complaints(
            "crates/runtime/src/a.rs",
            &format!("//! A.\n{unsafe_block}\n")
        )
        .is_empty()
    );
}

#[test]
fn a_floor_may_not_look_up_or_past_the_apiserver() {
    let manifest = |name: &str, dependency: &str| Source {
        path: format!("crates/{name}/Cargo.toml"),
        text: format!(
            "[package]\nname = \"{name}\"\n[dependencies]\n{dependency}.workspace = true\n[dev-dependencies]\nkubectl.workspace = true\n"
        ),
    };
    for (name, dependency, allowed) in [
        ("api", "schema", true),
        ("schema", "api", false),
        ("kubelet", "network", false),
        ("controllers", "store", false),
        ("apiserver", "store", true),
    ] {
        let mut found = Vec::new();
        floors::check(&[manifest(name, dependency)], &mut found);
        assert_eq!(
            found.is_empty(),
            allowed,
            "{name} uses {dependency}: {found:?}"
        );
    }
}
