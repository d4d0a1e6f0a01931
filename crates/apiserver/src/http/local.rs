//! The in-process transport: the request path without sockets and TLS, under an identity that was
//! put in instead of being proved.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{HeaderValue, USER_AGENT};
use http_body::Body as HttpBody;

use super::body::{Body, BoxError, boxed};
use crate::authentication::{Peer, UserInfo};
use crate::server::ApiServer;

/// A client's way to the API server of the same process. Cheap to clone.
#[derive(Clone)]
pub struct LocalTransport {
    server: Arc<ApiServer>,
    user: Arc<UserInfo>,
}

impl LocalTransport {
    pub(crate) fn new(server: Arc<ApiServer>) -> LocalTransport {
        LocalTransport {
            server,
            user: Arc::new(UserInfo::anonymous()),
        }
    }

    /// The same transport under another identity.
    #[must_use]
    pub fn as_user(&self, user: UserInfo) -> LocalTransport {
        LocalTransport {
            server: self.server.clone(),
            user: Arc::new(user.authenticated()),
        }
    }

    /// Who this transport speaks for.
    pub fn user(&self) -> &UserInfo {
        &self.user
    }
}

/// What the parts of a control plane call themselves, where their clients say nothing: whoever reads
/// an audit log or the managers of fields knows them by it.
fn agent(user: &UserInfo) -> Option<&'static str> {
    match user.name.as_str() {
        "system:kube-scheduler" => Some("kube-scheduler"),
        "system:kube-controller-manager" => Some("kube-controller-manager"),
        name if name.starts_with("system:serviceaccount:kube-system:") => {
            Some("kube-controller-manager")
        }
        _ => user.node().map(|_| "kubelet"),
    }
}

impl<B> tower::Service<http::Request<B>> for LocalTransport
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let server = self.server.clone();
        if let Some(agent) = agent(&self.user) {
            let headers = request.headers_mut();
            headers
                .entry(USER_AGENT)
                .or_insert(HeaderValue::from_static(agent));
        }
        let peer = Peer::Local(self.user.clone());
        let request = request.map(boxed);
        Box::pin(async move { Ok(server.handle(request, peer).await) })
    }
}
