//! Columns out of text with tabs, to the rules of Go's `text/tabwriter`, which kubectl's own output
//! goes through: a cell is what ends in a tab, a column is a run of lines that have a cell in the
//! same place, and what stands after a line's last tab belongs to none.

/// How wide columns get.
#[derive(Clone, Copy, Debug)]
pub struct Tabs {
    /// No column is narrower.
    pub min: usize,
    /// Spaces between a column's widest cell and the next.
    pub padding: usize,
}

/// What `describe` prints with.
pub const DESCRIPTION: Tabs = Tabs { min: 0, padding: 2 };

/// What tables are printed with.
pub const TABLE: Tabs = Tabs { min: 6, padding: 3 };

impl Tabs {
    /// The text with spaces for tabs. A form feed ends a line and every column.
    pub fn align(self, text: &str) -> String {
        let blocks: Vec<String> = text.split('\u{c}').map(|b| self.block(b)).collect();
        blocks.join("\n")
    }

    fn block(self, text: &str) -> String {
        let lines: Vec<Vec<&str>> = text
            .split('\n')
            .map(|line| line.split(['\t', '\u{b}']).collect())
            .collect();
        let mut widths: Vec<Vec<usize>> = lines
            .iter()
            .map(|cells| vec![0; cells.len().saturating_sub(1)])
            .collect();
        // Only lines with a cell in this column are looked at again for the next.
        let mut with: Vec<usize> = (0..lines.len()).collect();
        for column in 0.. {
            with.retain(|line| widths[*line].len() > column);
            if with.is_empty() {
                break;
            }
            for run in with.chunk_by(|a, b| a + 1 == *b) {
                let widest = run
                    .iter()
                    .map(|line| lines[*line][column].chars().count())
                    .max()
                    .unwrap_or_default();
                for line in run {
                    widths[*line][column] = (widest + self.padding).max(self.min);
                }
            }
        }
        let mut out = String::with_capacity(text.len() * 2);
        for (at, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
            if at > 0 {
                out.push('\n');
            }
            for (cell, width) in cells.iter().zip(widths) {
                out.push_str(cell);
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
            out.push_str(cells.last().copied().unwrap_or_default());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{DESCRIPTION, TABLE, Tabs};

    #[test]
    fn columns_are_runs_of_lines_that_have_the_cell() {
        let cases: [(Tabs, &str, &str); 6] = [
            (DESCRIPTION, "a:\tb\nlong:\tc\n", "a:     b\nlong:  c\n"),
            // A line without the cell ends the run.
            (DESCRIPTION, "a:\tb\nx\nlong:\tc\n", "a:  b\nx\nlong:  c\n"),
            // Nested columns live inside the outer one's run.
            (
                DESCRIPTION,
                "a\tb\tc\naaa\tbbb\tc\na\tx\n",
                "a    b    c\naaa  bbb  c\na    x\n",
            ),
            // Empty cells have width too.
            (DESCRIPTION, "a:\tx\n\ty\n", "a:  x\n    y\n"),
            (TABLE, "ID\tA\nx\tyy\n", "ID    A\nx     yy\n"),
            (TABLE, "é\tb\t\n", "é     b     \n"),
        ];
        for (tabs, text, want) in cases {
            assert_eq!(tabs.align(text), want, "{text:?}");
        }
    }
}
