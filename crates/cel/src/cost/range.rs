//! Ranges of costs and sizes, with arithmetic that stops at the greatest number.

/// From the least to the most something can cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostRange {
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

/// From the least to the most elements something can have.
pub(crate) type Size = CostRange;

impl CostRange {
    /// Always the same.
    pub const fn fixed(cost: u64) -> Self {
        Self {
            min: cost,
            max: cost,
        }
    }

    /// Anything.
    pub const UNKNOWN: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    /// Both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    /// So many times.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    /// At a price for each, rounded up.
    #[must_use]
    pub fn at(self, price: f64) -> Self {
        Self {
            min: scaled(self.min, price),
            max: scaled(self.max, price),
        }
    }

    /// One or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Rounded up; a float converts to the greatest number where it is beyond it.
fn scaled(count: u64, price: f64) -> u64 {
    (count as f64 * price).ceil() as u64
}
