//! The small table every program ends with: a figure, and the budget it is held against.

/// Rows of figures.
#[derive(Default)]
pub struct Table(Vec<[String; 3]>);

impl Table {
    /// Adds a figure; `budget` is the most it should be, in the same unit.
    pub fn budgeted(&mut self, what: &str, figure: f64, budget: f64, unit: &str) {
        let mark = if figure <= budget { "" } else { "  MISSED" };
        let budget = format!("{} {unit}{mark}", number(budget));
        self.0
            .push([what.into(), format!("{} {unit}", number(figure)), budget]);
    }

    /// Adds a figure; `budget` is the least it should be, in the same unit.
    pub fn least(&mut self, what: &str, figure: f64, budget: f64, unit: &str) {
        let mark = if figure >= budget { "" } else { "  MISSED" };
        let budget = format!("{} {unit}{mark}", number(budget));
        self.0
            .push([what.into(), format!("{} {unit}", number(figure)), budget]);
    }

    /// Adds a figure without a budget.
    pub fn plain(&mut self, what: &str, figure: f64, unit: &str) {
        self.0.push([
            what.into(),
            format!("{} {unit}", number(figure)),
            String::new(),
        ]);
    }

    /// Adds a figure that is not a number.
    pub fn note(&mut self, what: &str, text: impl Into<String>) {
        self.0.push([what.into(), text.into(), String::new()]);
    }

    /// Prints it.
    pub fn print(&self) {
        let width = |column: usize| {
            let cells = self.0.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let (first, second) = (width(0).max(4), width(1).max(6));
        println!("{:first$}  {:>second$}  budget", "work", "figure");
        for [what, figure, budget] in &self.0 {
            println!("{what:first$}  {figure:>second$}  {budget}");
        }
    }
}

/// Three significant places or so.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The value that a part of all are not above. Sorts them.
pub fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * part).ceil() as usize;
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.5), 50.0);
        assert_eq!(percentile(&mut values, 0.99), 99.0);
        assert_eq!(percentile(&mut values[..1], 0.99), 1.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn numbers_keep_about_three_places() {
        let cases = [
            (1234.56, "1235"),
            (12.345, "12.3"),
            (1.2345, "1.23"),
            (0.01234, "0.012"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
