//! One authorized request for a resource, on its way through the registry.

use std::sync::Arc;

use api::status::Status;
use jiff::Timestamp;
use parking_lot::Mutex;

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
            content_type: String::new(),
            user_agent: "corten-apiserver".to_owned(),
            now: server.clock.now(),
            deadline: deadline(),
            warnings: Mutex::default(),
            annotations: Arc::default(),
            endpoint,
        }
    }

    /// The options of a write from the query.
    pub fn write_options(&self) -> Result<WriteOptions, Status> {
        let mut options = WriteOptions {
            force: self.query.flag("force"),
            ..WriteOptions::default()
        };
        for dry_run in self.query.all("dryRun") {
            match dry_run {
                "All" => options.dry_run = true,
                "" => {}
                other => return Err(option_error("dryRun", other, &["All"])),
            }
        }
        options.field_validation = match self.query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                return Err(option_error(
                    "fieldValidation",
                    other,
                    &["Ignore", "Strict", "Warn"],
                ));
            }
        };
        options.field_manager = match self.query.get("fieldManager") {
            Some(name) if name.len() > 128 => {
                return Err(Status::bad_request(
                    "fieldManager: Too long: may not be more than 128 bytes",
                ));
            }
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

fn option_error(name: &str, value: &str, supported: &[&str]) -> Status {
    let error = schema::field_error::FieldError::not_supported(name, value, supported);
    let about = api::status::About::new("meta.k8s.io", "Options");
    Status::invalid(about, "", vec![error])
}
