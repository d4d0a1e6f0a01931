//! Doubles for unit tests.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;

/// A client of an API that answers nothing but 404.
pub fn no_api() -> kube::Client {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Ok::<_, Infallible>(
            http::Response::builder()
                .status(404)
                .body(Full::new(Bytes::new()))
                .unwrap_or_default(),
        )
    });
    kube::Client::new(service, "default")
}
