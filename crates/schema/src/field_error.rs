//! What is wrong with a field: the causes inside a `Status` of reason `Invalid`, worded as
//! upstream words them (`field.Error`).

use std::fmt;

use crate::Value;

/// Kind of a validation error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `FieldValueNotFound`.
    NotFound,
    /// `FieldValueRequired`.
    Required,
    /// `FieldValueDuplicate`.
    Duplicate,
    /// `FieldValueInvalid`.
    Invalid,
    /// `FieldValueNotSupported`.
    NotSupported,
    /// `FieldValueForbidden`.
    Forbidden,
    /// `FieldValueTooLong`.
    TooLong,
    /// `FieldValueTooMany`.
    TooMany,
    /// `InternalError`.
    Internal,
    /// `FieldValueTypeInvalid`.
    TypeInvalid,
}

impl FieldErrorKind {
    /// The reason a `Status` cause carries.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::Duplicate
                | Self::Invalid
                | Self::TypeInvalid
                | Self::NotSupported
        )
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What kind of wrong.
    pub kind: FieldErrorKind,
    /// `spec.containers[0].name`.
    pub path: String,
    /// The value that is wrong, where upstream shows it.
    pub value: Option<Value>,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    fn new(
        kind: FieldErrorKind,
        path: impl fmt::Display,
        value: Option<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            path: path.to_string(),
            value,
            detail: detail.into(),
        }
    }

    /// The field must be given.
    pub fn required(path: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, None, detail)
    }

    /// The value breaks a rule, which `detail` tells.
    pub fn invalid(
        path: impl fmt::Display,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(FieldErrorKind::Invalid, path, Some(value.into()), detail)
    }

    /// The value has the wrong type.
    pub fn type_invalid(
        path: impl fmt::Display,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(
            FieldErrorKind::TypeInvalid,
            path,
            Some(value.into()),
            detail,
        )
    }

    /// The value is none of those that are known, which are told in the given order.
    pub fn not_supported(
        path: impl fmt::Display,
        value: impl Into<Value>,
        supported: &[impl AsRef<str>],
    ) -> Self {
        let mut detail = String::new();
        if !supported.is_empty() {
            detail.push_str("supported values: ");
            for (i, name) in supported.iter().enumerate() {
                if i > 0 {
                    detail.push_str(", ");
                }
                detail.push_str(&quote(name.as_ref()));
            }
        }
        Self::new(
            FieldErrorKind::NotSupported,
            path,
            Some(value.into()),
            detail,
        )
    }

    /// The field may not be set, or not be changed, in this situation.
    pub fn forbidden(path: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, None, detail)
    }

    /// The value occurs twice where it must be unique.
    pub fn duplicate(path: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, Some(value.into()), "")
    }

    /// What the value names does not exist.
    pub fn not_found(path: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, path, Some(value.into()), "")
    }

    /// The text is longer than `max` bytes.
    pub fn too_long(path: impl fmt::Display, max: usize) -> Self {
        Self::new(
            FieldErrorKind::TooLong,
            path,
            None,
            format!("may not be more than {max} bytes"),
        )
    }

    /// The list has more than `max` items.
    pub fn too_many(path: impl fmt::Display, actual: usize, max: usize) -> Self {
        Self::new(
            FieldErrorKind::TooMany,
            path,
            Some(Value::from(actual)),
            format!(
                "must have at most {max} {}",
                if max == 1 { "item" } else { "items" }
            ),
        )
    }

    /// The rule could not be checked.
    pub fn internal(path: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Internal, path, None, detail)
    }

    /// Without the value, which is too large to be shown.
    #[must_use]
    pub fn unshown(mut self) -> Self {
        self.value = None;
        self
    }

    /// The reason a `Status` cause carries.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// What a `Status` cause says, without the path: `Invalid value: "x": detail`.
    pub fn message(&self) -> String {
        let mut out = self.kind.words().to_owned();
        if self.kind == FieldErrorKind::TooMany {
            if let Some(actual) = &self.value {
                out.push_str(&format!(": {actual}"));
            }
        } else if self.kind.shows_value() {
            match &self.value {
                Some(Value::String(text)) => out.push_str(&format!(": {}", quote(text))),
                Some(value) => out.push_str(&format!(": {value}")),
                None => {}
            }
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message())
    }
}

/// Text in double quotes with escapes, as Go's `%q` shows it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
