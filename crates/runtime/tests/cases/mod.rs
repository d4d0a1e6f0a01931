//! The cases, by subject.

pub mod archive;
mod containers;

use crate::harness::Case;

/// Makes a case of an async function.
macro_rules! case {
    ($module:ident :: $name:ident) => {
        (
            concat!(stringify!($module), "::", stringify!($name)),
            |node| Box::pin($module::$name(node)),
        )
    };
}

pub fn all() -> Vec<Case> {
    vec![
        case!(containers::runs_logs_and_stops),
        case!(containers::bad_commands_say_why),
        case!(containers::oom_kills_are_reported),
        case!(containers::outlive_the_server),
    ]
}
