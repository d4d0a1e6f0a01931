//! What expressions cost: what a checked one can cost at most ([`estimate`]), and what an evaluation
//! has cost ([`Price`]). The numbers are upstream's (cel-go's checker and interpreter, and Kubernetes'
//! library costs).

mod calls;
mod estimate;
mod price;
mod range;

pub(crate) use estimate::estimate;
pub(crate) use price::{Price, text_cost};
pub use range::CostRange;

use crate::declared::Declared;

/// How large variables can get.
pub trait SizeHints: Sync {
    /// Most elements of what stands at the end of a path: a variable's name, then fields, `@items`,
    /// `@keys` and `@values`. None where nothing is known.
    fn most(&self, path: &[String]) -> Option<u64>;
}

/// Nothing is known.
impl SizeHints for () {
    fn most(&self, _: &[String]) -> Option<u64> {
        None
    }
}

/// Every variable is as declared: what rules of a schema see in `self` and `oldSelf`.
impl SizeHints for Declared {
    fn most(&self, path: &[String]) -> Option<u64> {
        self.size_at(path.get(1..)?.iter().map(String::as_str))
    }
}
