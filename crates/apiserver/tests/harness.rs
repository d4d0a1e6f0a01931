//! Starting a server for a test, and asking it things.

use std::sync::Arc;

use api::clock::SystemClock;
use apiserver::pki::{Names, Pki};
use apiserver::{ApiServer, Config, LocalTransport, StartError, UserInfo};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use store::Store;
use tower::ServiceExt;

pub struct Cluster {
    pub server: Arc<ApiServer>,
    pub pki: Pki,
    pub store: Arc<Store>,
    pub dir: tempfile::TempDir,
}

pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(
            self.code < 300,
            "{} {}",
            self.code,
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    /// The `Status` of a failure with this code.
    #[track_caller]
    pub fn fails(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.body));
        let value = self.json();
        assert_eq!(value["kind"], "Status");
        value
    }

    pub fn warnings(&self) -> Vec<String> {
        self.headers
            .get_all("warning")
            .iter()
            .map(|w| w.to_str().unwrap().to_owned())
            .collect()
    }
}

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(dir: tempfile::TempDir) -> Cluster {
        let everything = |config: &mut Config| {
            config.runtime_config = vec!["api/all=true".to_owned()];
        };
        Cluster::start_with(dir, everything).await.unwrap()
    }

    /// As configured; nothing but stable versions is served unless `configure` says so.
    pub async fn start_with(
        dir: tempfile::TempDir,
        configure: impl FnOnce(&mut Config),
    ) -> Result<Cluster, StartError> {
        let names = Names {
            cluster_domain: "cluster.local".to_owned(),
            ..Names::default()
        };
        let pki = Pki::ensure(&dir.path().join("pki"), &names, jiff::Timestamp::now()).unwrap();
        let seal = apiserver::seal::AesGcm::new(&pki.encryption_key).unwrap();
        let options = store::Options {
            seal: Some(Arc::new(seal)),
            ..store::Options::default()
        };
        let store = Store::open(dir.path().join("store"), options).unwrap();
        let mut config = Config::new(&pki).unwrap();
        config.advertise_address = "192.0.2.1".parse().unwrap();
        config
            .tokens
            .push(apiserver::authentication::StaticToken::bootstrap(
                "bootstrap-secret",
            ));
        configure(&mut config);
        let server = ApiServer::new(config, store.clone(), Arc::new(SystemClock)).await?;
        Ok(Cluster {
            server,
            pki,
            store,
            dir,
        })
    }

    pub fn admin(&self) -> Client {
        self.user("kubernetes-admin", &["system:masters"])
    }

    pub fn user(&self, name: &str, groups: &[&str]) -> Client {
        Client {
            transport: self.server.local().as_user(UserInfo::new(name, groups)),
        }
    }
}

#[derive(Clone)]
pub struct Client {
    pub transport: LocalTransport,
}

impl Client {
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("user-agent", "test/1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.transport.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.raw(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.raw(
            "PUT",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let kind = match kind {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            "strategic" => "application/strategic-merge-patch+json",
            _ => "application/apply-patch+yaml",
        };
        self.raw("PATCH", path, &[("content-type", kind)], body.to_string())
            .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.raw("DELETE", path, &[], "").await
    }

    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.raw(
            "DELETE",
            path,
            &[("content-type", "application/json")],
            options.to_string(),
        )
        .await
    }

    pub async fn watch(&self, path: &str) -> Watch {
        self.watch_with(path, &[]).await
    }

    pub async fn watch_with(&self, path: &str, headers: &[(&str, &str)]) -> Watch {
        let mut request = http::Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = self.transport.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let stream = http_body_util::BodyDataStream::new(response.into_body());
        Watch {
            stream: Box::pin(stream),
            text: String::new(),
        }
    }
}

pub struct Watch {
    stream: std::pin::Pin<Box<http_body_util::BodyDataStream<apiserver::http::body::Body>>>,
    text: String,
}

impl Watch {
    /// The next event; none when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.find('\n') {
                let line: String = self.text.drain(..=end).collect();
                return Some(serde_json::from_str(&line).unwrap());
            }
            let piece =
                tokio::time::timeout(std::time::Duration::from_secs(20), self.stream.next())
                    .await
                    .expect("an event within 20 s")?;
            self.text
                .push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    /// `ADDED name`
    pub async fn line(&mut self) -> String {
        let event = self.next().await.expect("an event");
        format!(
            "{} {}",
            event["type"].as_str().unwrap(),
            event["object"]["metadata"]["name"].as_str().unwrap_or("-")
        )
    }
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// A namespace with its default account, as the controllers would leave it.
pub async fn namespace(client: &Client, name: &str) {
    let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let answer = client.post("/api/v1/namespaces", &value).await;
    assert!(answer.code == 201 || answer.code == 409);
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    client
        .post(
            &format!("/api/v1/namespaces/{name}/serviceaccounts"),
            &account,
        )
        .await
        .ok();
}
