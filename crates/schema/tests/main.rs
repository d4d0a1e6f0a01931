//! Tests of the engine on a small table of its own.
#![allow(clippy::unwrap_used)]

mod codec;
mod decode;
mod hostile;
mod openapi;
mod patch;
mod structural;
mod table;
mod wire;

use std::sync::LazyLock;

use schema::{Table, TypeId};

/// A table with one kind that has a field of every form.
static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("types.tsv")).unwrap());

fn thing() -> TypeId {
    TABLE.id("test.v1.Thing").unwrap()
}
