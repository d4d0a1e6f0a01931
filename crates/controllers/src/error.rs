//! Why a reconciliation failed.

use client::Key;

/// What was tried on which object, and what the API said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or did not answer.
    #[error("{verb} {kind} {key}: {source}")]
    Api {
        /// `create`.
        verb: &'static str,
        /// `pod`.
        kind: String,
        /// Namespace and name.
        key: Key,
        /// What the API said.
        source: Box<kube::Error>,
    },
    /// The object itself cannot be worked on; a person has to change it.
    #[error("{kind} {key}: {what}")]
    Unusable {
        /// `deployment`.
        kind: &'static str,
        /// Namespace and name.
        key: Key,
        /// What is wrong with it.
        what: String,
    },
}

impl Error {
    /// The Status the API answered, if it answered one.
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => status(source),
            Self::Unusable { .. } => None,
        }
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// Someone else wrote first.
    pub fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|status| status.code == 409 && !status.is_already_exists())
    }

    /// An object of this name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.status()
            .is_some_and(kube::core::Status::is_already_exists)
    }

    /// The namespace is on its way out, so that nothing can be created in it; no use in retrying.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status().is_some_and(|status| {
            status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .any(|cause| cause.reason == "NamespaceTerminating")
        })
    }

    /// What the API said, as an event should repeat it.
    pub fn api_message(&self) -> String {
        match (self, self.status()) {
            (_, Some(status)) => status.message.clone(),
            (Self::Unusable { what, .. }, _) => what.clone(),
            _ => self.to_string(),
        }
    }
}

/// The Status within an error of the client.
pub(crate) fn status(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Says what an error is about.
pub(crate) trait On<T> {
    fn on(self, verb: &'static str, kind: &str, key: impl FnOnce() -> Key) -> Result<T, Error>;
}

impl<T> On<T> for Result<T, kube::Error> {
    fn on(self, verb: &'static str, kind: &str, key: impl FnOnce() -> Key) -> Result<T, Error> {
        self.map_err(|source| Error::Api {
            verb,
            kind: kind.to_owned(),
            key: key(),
            source: Box::new(source),
        })
    }
}
