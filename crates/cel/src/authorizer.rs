//! Authorization checks from within an expression: whom to ask is the caller's ([`Authorizer`]), how
//! to ask is upstream's library (`authorizer.group('apps').resource('deployments').check('create')`).

use std::{fmt, sync::Arc};

/// Who answers authorization checks.
pub trait Authorizer: Send + Sync {
    /// May this user do this?
    fn authorize(&self, user: &User, check: &Check) -> Decision;
}

/// Whom a check is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever made the request.
    Requester,
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}

/// What is to be checked. Empty texts are unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Check {
    pub verb: Arc<str>,
    /// Of a request outside of the resources; nothing else but the verb is set then.
    pub path: Option<Arc<str>>,
    pub group: Arc<str>,
    pub resource: Arc<str>,
    pub subresource: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub field_selector: Arc<str>,
    pub label_selector: Arc<str>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Allowed.
    pub allowed: bool,
    /// Why (or why not).
    pub reason: Arc<str>,
    /// What went wrong in asking.
    pub error: Option<Arc<str>>,
}

/// Whom to ask, and about whom.
#[derive(Clone)]
pub struct Subject<'a> {
    /// Who answers.
    pub authorizer: &'a dyn Authorizer,
    /// Whom it is about.
    pub user: User,
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("user", &self.user).finish()
    }
}
