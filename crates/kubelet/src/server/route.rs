//! What a request is about. Pure.

use http::{Method, StatusCode, Uri};

/// A container named in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Pod uid, when the path gives one.
    pub uid: Option<String>,
    /// Container name; empty for the pod itself.
    pub container: String,
}

/// A query, as pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses it.
    pub fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|part| !part.is_empty())
                .map(|part| {
                    let (key, value) = part.split_once('=').unwrap_or((part, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Every value of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Whether a key is set to something true.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| matches!(v, "1" | "true"))
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' if i + 2 < bytes.len() => match (hex(bytes[i + 1]), hex(bytes[i + 2])) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    i += 2;
                }
                _ => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// /healthz
    Health,
    /// /pods
    Pods,
    /// /runningpods/
    RunningPods,
    /// /configz
    Config,
    /// /stats/summary
    Summary,
    /// /metrics
    Metrics,
    /// /metrics/resource
    ResourceMetrics,
    /// /metrics/cadvisor
    CadvisorMetrics,
    /// /containerLogs/…
    Logs(Target, Query),
    /// /run/…
    Run(Target, Query),
    /// /exec/…
    Exec(Target, Query),
    /// /attach/…
    Attach(Target, Query),
    /// /portForward/…
    PortForward(Target, Query),
}

impl Route {
    /// Finds it.
    pub fn of(method: &Method, uri: &Uri) -> Result<Self, StatusCode> {
        let get = method == Method::GET || method == Method::HEAD;
        let read = |route| {
            if get {
                Ok(route)
            } else {
                Err(StatusCode::METHOD_NOT_ALLOWED)
            }
        };
        let path = uri.path().trim_end_matches('/');
        match path {
            "/healthz" | "/healthz/ping" | "/healthz/log" | "/healthz/syncloop" => {
                return read(Self::Health);
            }
            "/pods" => return read(Self::Pods),
            "/runningpods" => return read(Self::RunningPods),
            "/configz" => return read(Self::Config),
            "/stats/summary" => return read(Self::Summary),
            "/metrics" => return read(Self::Metrics),
            "/metrics/resource" => return read(Self::ResourceMetrics),
            "/metrics/cadvisor" => return read(Self::CadvisorMetrics),
            _ => {}
        }
        let query = Query::parse(uri.query().unwrap_or_default());
        let parts: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let (kind, rest) = parts.split_first().ok_or(StatusCode::NOT_FOUND)?;
        let with_container = kind != "portForward";
        let target = target(rest, with_container).ok_or(StatusCode::NOT_FOUND);
        let stream = get || method == Method::POST;
        match kind.as_str() {
            "containerLogs" if get => Ok(Self::Logs(target?, query)),
            "run" if method == Method::POST => Ok(Self::Run(target?, query)),
            "exec" if stream => Ok(Self::Exec(target?, query)),
            "attach" if stream => Ok(Self::Attach(target?, query)),
            "portForward" if stream => Ok(Self::PortForward(target?, query)),
            "containerLogs" | "run" | "exec" | "attach" | "portForward" => {
                Err(StatusCode::METHOD_NOT_ALLOWED)
            }
            _ => Err(StatusCode::NOT_FOUND),
        }
    }

    /// The subresource of `nodes` that stands for it when access is asked for.
    pub fn subresource(&self) -> &'static str {
        match self {
            Self::Summary => "stats",
            Self::Metrics | Self::ResourceMetrics | Self::CadvisorMetrics => "metrics",
            Self::Health => "healthz",
            Self::Pods | Self::RunningPods => "pods",
            Self::Config => "configz",
            _ => "proxy",
        }
    }
}

/// `ns/pod[/uid][/container]`.
fn target(parts: &[String], with_container: bool) -> Option<Target> {
    let (namespace, pod, uid, container) = match (parts, with_container) {
        ([ns, pod, container], true) => (ns, pod, None, container.clone()),
        ([ns, pod, uid, container], true) => (ns, pod, Some(uid.clone()), container.clone()),
        ([ns, pod], false) => (ns, pod, None, String::new()),
        ([ns, pod, uid], false) => (ns, pod, Some(uid.clone()), String::new()),
        _ => return None,
    };
    Some(Target {
        namespace: namespace.clone(),
        pod: pod.clone(),
        uid,
        container,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, uri: &str) -> Result<Route, StatusCode> {
        Route::of(&method, &uri.parse().expect("a uri"))
    }

    #[test]
    fn paths() {
        assert_eq!(of(Method::GET, "/healthz"), Ok(Route::Health));
        assert_eq!(of(Method::GET, "/runningpods/"), Ok(Route::RunningPods));
        assert_eq!(
            of(Method::POST, "/pods"),
            Err(StatusCode::METHOD_NOT_ALLOWED)
        );
        assert_eq!(of(Method::GET, "/nothing"), Err(StatusCode::NOT_FOUND));
        let Ok(Route::Exec(target, query)) = of(
            Method::POST,
            "/exec/ns/p/c?command=sh&command=-c&command=echo+a%20b&stdin=1",
        ) else {
            panic!("not exec");
        };
        assert_eq!((target.pod.as_str(), target.container.as_str()), ("p", "c"));
        assert_eq!(
            query.all("command").collect::<Vec<_>>(),
            ["sh", "-c", "echo a b"]
        );
        assert!(query.flag("stdin") && !query.flag("tty"));
        let Ok(Route::PortForward(target, _)) = of(Method::GET, "/portForward/ns/p") else {
            panic!("not port-forward");
        };
        assert_eq!(target.container, "");
    }
}
