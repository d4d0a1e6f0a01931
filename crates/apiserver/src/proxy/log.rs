//! `pods/NAME/log` over WebSocket: the log is fetched from the kubelet as for any client, and framed
//! here. Subprotocols as upstream's: none and `binary.k8s.io` send bytes, `base64.binary.k8s.io` text.

use api::status::Status;
use http::header;
use http::{Request, Response};
use http_body_util::BodyExt;

use super::target::Target;
use super::{kubelet_error, outgoing};
use crate::http::body::{Body, BoxError, RequestBody};
use crate::http::websocket::{self, Framing};
use crate::registry::call::Call;

const BASE64: &str = "base64.binary.k8s.io";

/// Answers with the log as a WebSocket.
pub(super) async fn stream(
    call: &Call,
    target: &Target,
    mut request: Request<RequestBody>,
) -> Result<Response<Body>, Status> {
    let (answer, agreed) = websocket::accept(request.headers(), &["binary.k8s.io", BASE64])?;
    let upgrade = hyper::upgrade::on(&mut request);
    let mut outgoing = outgoing(request, target, false)?;
    for name in [
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        outgoing.headers_mut().remove(name);
    }
    let failed =
        |e: &dyn std::fmt::Display| Status::internal(format!("error dialing backend: {e}"));
    let mut sender = call
        .server
        .proxy
        .dial(target)
        .await
        .map_err(|e| failed(&e))?;
    let response = sender
        .send_request(outgoing)
        .await
        .map_err(|e| failed(&e))?;
    if !response.status().is_success() {
        return Err(kubelet_error(response).await);
    }
    let body = response.into_body().map_err(|e| Box::new(e) as BoxError);
    let framing = if agreed == Some(BASE64) {
        Framing::Base64
    } else {
        Framing::Binary
    };
    websocket::send(upgrade, http_body_util::BodyDataStream::new(body), framing);
    Ok(answer)
}
