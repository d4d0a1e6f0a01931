//! Deeply nested expressions get a stack of their own: threads that serve requests have little, and
//! what an expression needs is bounded by [`crate::limits::DEPTH`].

/// Nesting up to which the caller's stack is enough.
const SHALLOW: usize = 48;
/// Enough for the deepest nesting, in a build without optimisation too.
const STACK: usize = 64 << 20;

/// Runs it here, or on a thread with a large stack where the nesting is deep.
pub(crate) fn with_stack<T: Send>(depth: usize, run: impl FnOnce() -> T + Send) -> Option<T> {
    if depth <= SHALLOW {
        return Some(run());
    }
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("expression".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, run)
            .ok()?
            .join()
            .ok()
    })
}
