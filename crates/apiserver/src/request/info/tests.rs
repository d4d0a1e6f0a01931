//! Paths and methods read as upstream reads them.

use super::*;

fn line(method: &str, uri: &str) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let info = parse(&method, path, &Query::parse(query));
    if !info.is_resource {
        return format!("{} non-resource {}", info.verb, info.path);
    }
    format!(
        "{} {}/{} ns={} {} name={} sub={} rest={}",
        info.verb,
        info.group,
        info.version,
        info.namespace,
        info.resource,
        info.name,
        info.subresource,
        info.rest.as_deref().unwrap_or("-")
    )
}

#[test]
fn paths_mean_what_upstream_says() {
    let cases = [
        ("GET", "/version", "get non-resource /version"),
        ("GET", "/apis/apps/v1", "get non-resource /apis/apps/v1"),
        ("GET", "/api/v1/pods", "list /v1 ns= pods name= sub= rest=-"),
        (
            "GET",
            "/api/v1/pods?watch=1",
            "watch /v1 ns= pods name= sub= rest=-",
        ),
        (
            "GET",
            "/api/v1/namespaces/a/pods/b",
            "get /v1 ns=a pods name=b sub= rest=-",
        ),
        (
            "POST",
            "/api/v1/namespaces/a/pods",
            "create /v1 ns=a pods name= sub= rest=-",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/a/pods",
            "deletecollection /v1 ns=a pods name= sub= rest=-",
        ),
        (
            "GET",
            "/api/v1/namespaces/a",
            "get /v1 ns=a namespaces name=a sub= rest=-",
        ),
        (
            "PUT",
            "/api/v1/namespaces/a/finalize",
            "update /v1 ns=a namespaces name=a sub=finalize rest=-",
        ),
        (
            "PUT",
            "/api/v1/namespaces/a/pods/b/status",
            "update /v1 ns=a pods name=b sub=status rest=-",
        ),
        (
            "GET",
            "/api/v1/nodes/n/proxy/x/y",
            "get /v1 ns= nodes name=n sub=proxy rest=x/y",
        ),
        (
            "GET",
            "/api/v1/nodes/n/proxy/",
            "get /v1 ns= nodes name=n sub=proxy rest=",
        ),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d",
            "patch apps/v1 ns=a deployments name=d sub= rest=-",
        ),
        (
            "GET",
            "/api/v1/pods?fieldSelector=metadata.name%3Dx",
            "list /v1 ns= pods name=x sub= rest=-",
        ),
        (
            "GET",
            "/api/v1/watch/namespaces/a/pods",
            "watch /v1 ns=a pods name= sub= rest=-",
        ),
    ];
    for (method, uri, expected) in cases {
        assert_eq!(line(method, uri), expected, "{method} {uri}");
    }
}

proptest::proptest! {
    /// `PROPTEST_CASES` says how many are tried.
    #[test]
    fn any_path_and_query_are_answered(path in ".{0,80}", query in ".{0,60}") {
        use http::Method;
        let query = crate::request::query::Query::parse(&query);
        for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
            let info = super::parse(&method, &path, &query);
            if info.is_resource {
                proptest::prop_assert!(path.trim_start_matches('/').starts_with("api"));
            }
        }
        let _ = crate::request::accept::negotiate(Some(&path), &[]);
    }

    #[test]
    fn paths_of_known_words_are_answered(
        words in proptest::collection::vec(
            proptest::sample::select(&["api", "apis", "v1", "namespaces", "pods", "watch", "status", "", "..", "%2f", "x"][..]),
            0..9,
        )
    ) {
        let path = format!("/{}", words.join("/"));
        let query = crate::request::query::Query::default();
        let info = super::parse(&http::Method::GET, &path, &query);
        proptest::prop_assert!(!info.is_resource || !info.version.is_empty() || path.contains("//"));
    }
}
