//! Links the program as static and at a fixed address.
//!
//! A static program that may lie anywhere rewrites 1.4 MB of addresses when it starts, which every
//! pod's shim then has for itself alone. Heap, stacks and mappings stay randomized.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    let features = set("CARGO_CFG_TARGET_FEATURE");
    let fixed =
        set("CARGO_CFG_TARGET_ENV") == "gnu" && features.split(',').any(|f| f == "crt-static");
    if fixed {
        println!("cargo:rustc-link-arg-bins=-no-pie");
        println!("cargo:rustc-link-arg-bins=-static");
    }
}
