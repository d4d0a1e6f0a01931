//! Paths to fields: built on the stack while walking, written out only when there is something to
//! say about the place.

use std::fmt;

/// One step of a [`Path`].
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

/// A path that borrows its beginning, so that going down one level costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Option<Step<'a>>,
}

impl<'a> Path<'a> {
    /// The object itself.
    pub const ROOT: Path<'static> = Path {
        parent: None,
        step: None,
    };

    /// `spec` → `spec.name`.
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Some(Step::Field(name)),
        }
    }

    /// `spec` → `spec[name]`, as validation shows keys of maps.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Some(Step::Key(key)),
        }
    }

    /// `spec` → `spec[3]`.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Some(Step::Index(index)),
        }
    }

    /// The path of fields alone, as the JSON decoder shows it: no list positions.
    pub(crate) fn fields_only(&self) -> String {
        let mut out = match self.parent {
            Some(parent) => parent.fields_only(),
            None => String::new(),
        };
        if let Some(Step::Field(name)) = self.step {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(name);
        }
        out
    }

    fn is_root(&self) -> bool {
        self.step.is_none()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            None => Ok(()),
            Some(Step::Field(name)) => {
                if self.parent.is_some_and(|parent| !parent.is_root()) {
                    f.write_str(".")?;
                }
                f.write_str(name)
            }
            Some(Step::Key(key)) => write!(f, "[{key}]"),
            Some(Step::Index(index)) => write!(f, "[{index}]"),
        }
    }
}
