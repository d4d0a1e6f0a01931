//! What goes wrong with a request, as the `Status` object that upstream answers.

use std::borrow::Cow;
use std::fmt;

use schema::{Value, field_error::FieldError};
use serde_json::json;

use crate::resource::qualify;

/// An answer other than success.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `NotFound`, …; empty when there is none.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// For programs.
    pub details: Option<Details>,
    /// `metadata.continue`: where a list may go on whose token has expired; empty elsewhere.
    pub continue_token: String,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The object.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its resource (its kind, for reason `Invalid`).
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// Single causes.
    pub causes: Vec<Cause>,
    /// Try again after these seconds.
    pub retry_after_seconds: u32,
}

/// One cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// `spec.containers[0].name`.
    pub field: String,
}

/// The resource that an error is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// Empty for core.
    pub group: &'a str,
    /// `pods`, or `Pod` for errors that name the kind.
    pub resource: &'a str,
}

impl<'a> About<'a> {
    /// From its parts.
    pub fn new(group: &'a str, resource: &'a str) -> Self {
        About { group, resource }
    }

    fn qualified(&self) -> String {
        qualify(self.resource, self.group)
    }

    fn details(&self, name: &str) -> Details {
        Details {
            name: name.to_owned(),
            group: self.group.to_owned(),
            kind: self.resource.to_owned(),
            ..Details::default()
        }
    }
}

impl<'a> From<&'a crate::resource::Resource> for About<'a> {
    fn from(resource: &'a crate::resource::Resource) -> Self {
        About {
            group: &resource.gvk.group,
            resource: &resource.plural,
        }
    }
}

impl Status {
    fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Status {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            continue_token: String::new(),
        }
    }

    fn with(mut self, details: Details) -> Self {
        self.details = Some(details);
        self
    }

    /// Sets the details' uid.
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.details.get_or_insert_default().uid = uid.to_owned();
        self
    }

    /// Adds a cause to the details.
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause {
            reason: reason.to_owned(),
            message: message.into(),
            field: field.to_owned(),
        };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// 404: no such object.
    pub fn not_found<'a>(about: impl Into<About<'a>>, name: &str) -> Self {
        let about = about.into();
        Status::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", about.qualified()),
        )
        .with(about.details(name))
    }

    /// 404: no such path.
    pub fn no_resource() -> Self {
        Status::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with(Details::default())
    }

    /// 409: the name is taken.
    pub fn already_exists<'a>(about: impl Into<About<'a>>, name: &str) -> Self {
        let about = about.into();
        Status::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", about.qualified()),
        )
        .with(about.details(name))
    }

    /// 409: no generated name was free.
    pub fn generate_name_conflict<'a>(about: impl Into<About<'a>>, name: &str) -> Self {
        let about = about.into();
        let message = format!(
            "{} {name:?} already exists, the server was not able to generate a unique name for the object",
            about.qualified()
        );
        let details = Details {
            retry_after_seconds: 1,
            ..about.details(name)
        };
        Status::new(409, "AlreadyExists", message).with(details)
    }

    /// 409: somebody else was faster, or a precondition fails.
    pub fn conflict<'a>(about: impl Into<About<'a>>, name: &str, why: impl fmt::Display) -> Self {
        let about = about.into();
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            about.qualified()
        );
        Status::new(409, "Conflict", message).with(about.details(name))
    }

    /// 409: the object has changed since it was read.
    pub fn modified<'a>(about: impl Into<About<'a>>, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(about, name, why)
    }

    /// 409: other managers own fields that an apply wants.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        Status::new(409, "Conflict", message).with(Details {
            causes,
            ..Details::default()
        })
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403.
    pub fn forbidden<'a>(about: impl Into<About<'a>>, name: &str, why: impl fmt::Display) -> Self {
        let about = about.into();
        let message = if about.resource.is_empty() && about.group.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{} is forbidden: {why}", about.qualified())
        } else {
            format!("{} {name:?} is forbidden: {why}", about.qualified())
        };
        Status::new(403, "Forbidden", message).with(about.details(name))
    }

    /// 422: `about` names the kind.
    pub fn invalid<'a>(about: impl Into<About<'a>>, name: &str, errors: Vec<FieldError>) -> Self {
        let about = about.into();
        let mut message = format!("{} {name:?} is invalid", about.qualified());
        let mut lines: Vec<String> = Vec::with_capacity(errors.len());
        let mut causes = Vec::with_capacity(errors.len());
        for error in &errors {
            let line = if error.path.is_empty() {
                error.message()
            } else {
                format!("{}: {}", error.path, error.message())
            };
            if !lines.contains(&line) {
                lines.push(line);
            }
            causes.push(Cause {
                reason: error.reason().to_owned(),
                message: error.message(),
                field: error.path.clone(),
            });
        }
        match lines.as_slice() {
            [] => {}
            [line] => message = format!("{message}: {line}"),
            lines => message = format!("{message}: [{}]", lines.join(", ")),
        }
        Status::new(422, "Invalid", message).with(Details {
            causes,
            ..about.details(name)
        })
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Status::new(400, "BadRequest", message)
    }

    /// 410: the revision is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Status::new(410, "Expired", message)
    }

    /// 410: a watch from a revision that is no longer kept.
    pub fn gone(message: impl Into<String>) -> Self {
        Status::new(410, "Gone", message)
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Status::new(429, "TooManyRequests", message).with(Details {
            retry_after_seconds,
            ..Details::default()
        })
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Status::new(503, "ServiceUnavailable", message)
    }

    /// 405: the kind has no such verb.
    pub fn method_not_supported<'a>(about: impl Into<About<'a>>, action: &str) -> Self {
        let about = about.into();
        let message = format!(
            "{action} is not supported on resources of kind {:?}",
            about.qualified()
        );
        Status::new(405, "MethodNotAllowed", message).with(about.details(""))
    }

    /// 405: the path takes no such method.
    pub fn method_not_allowed() -> Self {
        Status::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with(Details::default())
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let accepted = accepted.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// 406.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            accepted.join(", ")
        );
        Status::new(406, "NotAcceptable", message)
    }

    /// 413.
    pub fn too_large(message: impl fmt::Display) -> Self {
        Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {message}"),
        )
    }

    /// 504.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Status::new(504, "Timeout", format!("Timeout: {message}")).with(Details {
            retry_after_seconds,
            ..Details::default()
        })
    }

    /// 500: it may work when tried again.
    pub fn server_timeout<'a>(
        about: impl Into<About<'a>>,
        operation: &str,
        retry_after_seconds: u32,
    ) -> Self {
        let about = about.into();
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            about.qualified()
        );
        Status::new(500, "ServerTimeout", message).with(Details {
            retry_after_seconds,
            ..about.details(operation)
        })
    }

    /// 500.
    pub fn internal(error: impl fmt::Display) -> Self {
        let error = error.to_string();
        Status::new(
            500,
            "InternalError",
            format!("Internal error occurred: {error}"),
        )
        .with_cause("", error, "")
    }

    /// Any other code, with its own reason and message.
    pub fn other(
        code: u16,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Status::new(code, reason, message)
    }

    /// The object, as JSON.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            value["reason"] = (*self.reason).into();
        }
        if !self.continue_token.is_empty() {
            value["metadata"]["continue"] = self.continue_token.as_str().into();
        }
        if let Some(details) = &self.details {
            value["details"] = details.to_value();
        }
        value
    }

    /// What a delete that left nothing behind answers.
    pub fn success<'a>(about: impl Into<About<'a>>, name: &str, uid: &str) -> Value {
        let about = about.into();
        let details = Details {
            uid: uid.to_owned(),
            ..about.details(name)
        };
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details.to_value()})
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut value = json!({});
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                value[key] = text.as_str().into();
            }
        }
        if !self.causes.is_empty() {
            value["causes"] = self.causes.iter().map(Cause::to_value).collect();
        }
        if self.retry_after_seconds > 0 {
            value["retryAfterSeconds"] = self.retry_after_seconds.into();
        }
        value
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = json!({});
        for (key, text) in [
            ("reason", &self.reason),
            ("message", &self.message),
            ("field", &self.field),
        ] {
            if !text.is_empty() {
                value[key] = text.as_str().into();
            }
        }
        value
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worded_as_upstream() {
        let status = Status::not_found(About::new("apps", "deployments"), "web");
        assert_eq!(
            status.to_value(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404
            })
        );
        let about = About::new("", "pods");
        assert_eq!(
            Status::already_exists(about, "a").message,
            "pods \"a\" already exists"
        );
        assert_eq!(
            Status::forbidden(about, "", "no").message,
            "pods is forbidden: no"
        );
        assert_eq!(
            Status::forbidden(About::default(), "", "no").message,
            "forbidden: no"
        );
        assert!(
            Status::modified(about, "a")
                .message
                .starts_with("Operation cannot be fulfilled on pods \"a\": the object")
        );
        assert_eq!(
            Status::internal("boom").to_value()["details"],
            json!({"causes": [{"message": "boom"}]})
        );
    }

    #[test]
    fn invalid_lists_its_causes() {
        let error = |path: &str| FieldError {
            kind: schema::field_error::FieldErrorKind::Required,
            path: path.to_owned(),
            value: None,
            detail: String::new(),
        };
        let one = Status::invalid(About::new("", "Pod"), "a", vec![error("spec.x")]);
        assert_eq!(one.message, "Pod \"a\" is invalid: spec.x: Required value");
        let two = Status::invalid(
            About::new("apps", "Deployment"),
            "a",
            vec![error("spec.x"), error("spec.y")],
        );
        assert_eq!(
            two.message,
            "Deployment.apps \"a\" is invalid: [spec.x: Required value, spec.y: Required value]"
        );
        assert_eq!(
            two.to_value()["details"]["causes"][1]["reason"],
            "FieldValueRequired"
        );
    }
}
