//! exec, attach, port-forward and run. The runtime gives a URL; the request's upgrade is passed
//! on to it byte by byte, whatever protocol the two ends speak.

use cri::v1;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    App, Body,
    route::{Query, Target},
    text,
};
use crate::{
    pods::{
        hooks::observe,
        observed::{Observed, State},
        view::PodView,
    },
    runtime_client::RuntimeError,
};

/// A request that cannot be served.
pub struct Refused(pub StatusCode, pub String);

impl From<RuntimeError> for Refused {
    fn from(error: RuntimeError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

fn answer(result: Result<Response<Body>, Refused>) -> Response<Body> {
    result.unwrap_or_else(|Refused(status, words)| text(status, words))
}

/// The pod that a request names, and what the runtime has of it.
pub async fn find(app: &App, target: &Target) -> Result<(PodView, Observed), Refused> {
    let not_found = || Refused(StatusCode::NOT_FOUND, "pod does not exist".to_owned());
    let pod = app
        .pods
        .get(&target.namespace, &target.pod)
        .map(PodView::new)
        .ok_or_else(not_found)?;
    if target.uid.as_deref().is_some_and(|uid| uid != pod.uid()) {
        return Err(not_found());
    }
    let observed = observe::pod(app.agent.clone(), pod.uid().to_owned()).await?;
    Ok((pod, observed))
}

/// The id of the running container that a request names.
async fn running(app: &App, target: &Target) -> Result<(PodView, String), Refused> {
    let (pod, observed) = find(app, target).await?;
    match observed.current(&target.container) {
        Some(run) if run.state == State::Running => {
            let id = run.id.clone();
            Ok((pod, id))
        }
        Some(_) => Err(Refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("container {} is not running", target.container),
        )),
        None => Err(Refused(
            StatusCode::NOT_FOUND,
            format!("container not found (\"{}\")", target.container),
        )),
    }
}

struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

fn streams(query: &Query) -> Result<Streams, Refused> {
    // The API server writes `stdin=true`, the kubelet's own clients `input=1`.
    let tty = query.flag("tty");
    let streams = Streams {
        stdin: query.flag("stdin") || query.flag("input"),
        stdout: query.flag("stdout") || query.flag("output"),
        stderr: (query.flag("stderr") || query.flag("error")) && !tty,
        tty,
    };
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Err(Refused(
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 of stdin, stdout, stderr".to_owned(),
        ));
    }
    Ok(streams)
}

/// Runs a command in a container, streaming.
pub async fn exec(
    app: &App,
    target: Target,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let work = async {
        let streams = streams(query)?;
        let (_, id) = running(app, &target).await?;
        let url = app
            .agent
            .runtime
            .exec(v1::ExecRequest {
                container_id: id,
                cmd: query.all("command").map(str::to_owned).collect(),
                tty: streams.tty,
                stdin: streams.stdin,
                stdout: streams.stdout,
                stderr: streams.stderr,
            })
            .await?
            .url;
        pass_on(&url, request).await
    };
    answer(work.await)
}

/// Joins a container's main process.
pub async fn attach(
    app: &App,
    target: Target,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let work = async {
        let streams = streams(query)?;
        let (pod, id) = running(app, &target).await?;
        // What the container was made with decides about the terminal.
        let tty = pod
            .container(&target.container)
            .is_some_and(|(c, _)| c.tty == Some(true));
        let url = app
            .agent
            .runtime
            .attach(v1::AttachRequest {
                container_id: id,
                stdin: streams.stdin,
                tty,
                stdout: streams.stdout,
                stderr: streams.stderr && !tty,
            })
            .await?
            .url;
        pass_on(&url, request).await
    };
    answer(work.await)
}

/// Forwards ports of a pod.
pub async fn port_forward(
    app: &App,
    target: Target,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let work = async {
        let (_, observed) = find(app, &target).await?;
        let sandbox = observed.sandbox().filter(|s| s.ready).ok_or_else(|| {
            Refused(
                StatusCode::NOT_FOUND,
                format!("not found ({}/{})", target.namespace, target.pod),
            )
        })?;
        let ports = query
            .all("port")
            .chain(query.all("ports"))
            .flat_map(|list| list.split(','))
            .filter_map(|port| port.parse().ok())
            .collect();
        let url = app
            .agent
            .runtime
            .port_forward(v1::PortForwardRequest {
                pod_sandbox_id: sandbox.id.clone(),
                port: ports,
            })
            .await?
            .url;
        pass_on(&url, request).await
    };
    answer(work.await)
}

/// Runs a command to its end and answers with its output.
pub async fn run(app: &App, target: Target, query: &Query) -> Response<Body> {
    let work = async {
        let (_, id) = running(app, &target).await?;
        let command = query.get("cmd").unwrap_or_default();
        let answer = app
            .agent
            .runtime
            .exec_sync(v1::ExecSyncRequest {
                container_id: id,
                cmd: command.split_whitespace().map(str::to_owned).collect(),
                timeout: 0,
            })
            .await?;
        let mut output = answer.stdout;
        output.extend(answer.stderr);
        if answer.exit_code != 0 {
            let words = format!(
                "command '{command}' exited with {}: {}",
                answer.exit_code,
                String::from_utf8_lossy(&output)
            );
            return Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, words));
        }
        Ok(super::full(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            output,
        ))
    };
    answer(work.await)
}

/// Headers that concern one hop only, but belong to an upgrade.
const UPGRADE: [HeaderName; 2] = [header::CONNECTION, header::UPGRADE];

/// Repeats the request at the runtime's URL, and joins the two connections when it upgrades.
async fn pass_on(url: &str, mut request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    let broken = |what: &str, error: &dyn std::fmt::Display| {
        Refused(
            StatusCode::BAD_GATEWAY,
            format!("container runtime's streaming server: {what}: {error}"),
        )
    };
    let uri: Uri = url.parse().map_err(|e| broken("its URL", &e))?;
    let (Some(host), Some(port)) = (uri.host(), uri.port_u16().or(Some(80))) else {
        return Err(broken("its URL", &"no host"));
    };
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port))
        .await
        .map_err(|e| broken("connect", &e))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken("handshake", &e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "streaming connection");
        }
    });
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut onward = Request::builder()
        .method(request.method().clone())
        .uri(path)
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|e| broken("request", &e))?;
    copy_headers(request.headers(), onward.headers_mut());
    if let Some(authority) = uri.authority()
        && let Ok(value) = authority.as_str().parse()
    {
        onward.headers_mut().insert(header::HOST, value);
    }
    let mut reply = sender
        .send_request(onward)
        .await
        .map_err(|e| broken("request", &e))?;
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = reply.into_parts();
        let body = body.map_err(std::io::Error::other).boxed();
        return Ok(Response::from_parts(parts, body));
    }
    let theirs = hyper::upgrade::on(&mut reply);
    let ours = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match tokio::try_join!(ours, theirs) {
            Ok((ours, theirs)) => {
                let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
                // Either end may leave at any time.
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade"),
        }
    });
    let mut response = Response::new(
        Empty::new()
            .map_err(|never: std::convert::Infallible| match never {})
            .boxed(),
    );
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    copy_headers(reply.headers(), response.headers_mut());
    Ok(response)
}

/// Credentials and the host stay on this side.
fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let hop = name == header::HOST
            || name == header::AUTHORIZATION
            || name == header::TRANSFER_ENCODING
            || name == header::CONTENT_LENGTH;
        if !hop || UPGRADE.contains(name) {
            to.append(name.clone(), value.clone());
        }
    }
}
