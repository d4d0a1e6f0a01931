//! One authorized request for a resource, on its way through the registry.

use std::sync::Arc;

use api::status::Status;
use jiff::Timestamp;
use parking_lot::Mutex;
use schema::field_error::FieldError;

use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::endpoint::Endpoint;
use crate::request::accept::Accept;
use crate::request::info::RequestInfo;
use crate::request::query::Query;
use crate::server::ApiServer;

/// One authorized request for a resource.
pub struct Call {
    /// The server.
    pub server: Arc<ApiServer>,
    /// The resource asked for.
    pub endpoint: Arc<Endpoint>,
    /// What is asked.
    pub info: RequestInfo,
    /// The query.
    pub query: Query,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// What the client accepts.
    pub accept: Accept,
    /// The client does not read `metadata.managedFields`.
    pub without_managers: bool,
    /// `Content-Type` of the body; empty where none was sent.
    pub content_type: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// When it came in.
    pub now: Timestamp,
    /// When it is given up, whatever it waits for.
    pub deadline: tokio::time::Instant,
    /// `Warning` headers of the answer.
    pub warnings: Mutex<Vec<String>>,
    /// What the audit log is told of it.
    pub annotations: Arc<Annotations>,
}

/// Warnings of one answer; further ones are left out.
const MAX_WARNINGS: usize = 100;

/// What to do with fields a type does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Dropped.
    Ignore,
    /// Dropped, with a warning.
    #[default]
    Warn,
    /// Refused.
    Strict,
}

/// The options of a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Do everything but store.
    pub dry_run: bool,
    /// Who is to own the fields.
    pub field_manager: String,
    /// What to do with fields a type does not have.
    pub field_validation: FieldValidation,
    /// Server-side apply takes fields from other managers.
    pub force: bool,
}

/// When a request that starts now is given up.
pub(crate) fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + crate::request::chain::REQUEST_PATIENCE
}

impl Call {
    /// Adds a `Warning` header.
    pub fn warn(&self, text: impl Into<String>) {
        let mut warnings = self.warnings.lock();
        if warnings.len() < MAX_WARNINGS {
            warnings.push(text.into());
        }
    }

    /// The namespace of the request, empty for the cluster.
    pub fn namespace(&self) -> &str {
        if self.endpoint.resource.namespaced {
            &self.info.namespace
        } else {
            ""
        }
    }

    /// A call of the server itself, beside a client's request.
    pub fn internal(server: &Arc<ApiServer>, endpoint: Arc<Endpoint>, namespace: &str) -> Call {
        let resource = &endpoint.resource;
        let info = RequestInfo {
            is_resource: true,
            group: resource.gvk.group.to_string(),
            version: resource.gvk.version.to_string(),
            resource: resource.plural.to_string(),
            namespace: namespace.to_owned(),
            ..RequestInfo::default()
        };
        Call {
            server: server.clone(),
            info,
            query: Query::default(),
            user: Arc::new(UserInfo::apiserver()),
            accept: Accept::default(),
            without_managers: false,
            content_type: String::new(),
            user_agent: "corten-apiserver".to_owned(),
            now: server.clock.now(),
            deadline: deadline(),
            warnings: Mutex::default(),
            annotations: Arc::default(),
            endpoint,
        }
    }

    /// The kind that the options of this write are.
    fn options_kind(&self) -> &'static str {
        match self.info.verb {
            "create" => "CreateOptions",
            "patch" => "PatchOptions",
            _ => "UpdateOptions",
        }
    }

    /// The options of a write from the query; everything wrong with them is told at once.
    pub fn write_options(&self) -> Result<WriteOptions, Status> {
        let mut options = WriteOptions {
            force: self.query.flag("force"),
            ..WriteOptions::default()
        };
        let mut errors = Vec::new();
        let name = self.query.get("fieldManager");
        check_manager(name.unwrap_or_default(), &mut errors);
        options.dry_run = dry_run(self.query.all("dryRun"), &mut errors);
        options.field_validation = match self.query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let known = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported("fieldValidation", other, &known));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(invalid_options(self.options_kind(), errors));
        }
        options.field_manager = match name {
            Some(name) => name.to_owned(),
            None => {
                let name = self.user_agent.split('/').next().unwrap_or_default();
                let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
                if name.is_empty() {
                    "unknown".to_owned()
                } else {
                    name
                }
            }
        };
        Ok(options)
    }
}

/// The longest name of a field manager.
const MAX_MANAGER: usize = 128;

fn check_manager(name: &str, errors: &mut Vec<FieldError>) {
    if name.len() > MAX_MANAGER {
        errors.push(FieldError::too_long("fieldManager", MAX_MANAGER));
    }
    for (at, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let wrong = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(FieldError::invalid("fieldManager", name, wrong));
    }
}

/// Is nothing to be stored?
pub(super) fn dry_run<'a>(
    given: impl Iterator<Item = &'a str>,
    errors: &mut Vec<FieldError>,
) -> bool {
    let given: Vec<&str> = given.filter(|value| !value.is_empty()).collect();
    if given.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported("dryRun", given.clone(), &["All"]));
    }
    !given.is_empty()
}

/// The 422 for options of this kind.
pub(super) fn invalid_options(kind: &str, errors: Vec<FieldError>) -> Status {
    Status::invalid(api::status::About::new("meta.k8s.io", kind), "", errors)
}
