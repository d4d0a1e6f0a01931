//! Reading the metrics APIs. None of them is part of this server: whoever serves one registers it, and
//! until then reading says that it is not there.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::calculate::{Sample, Samples};

/// What a sample covers when nothing is said.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// Reads for one autoscaler.
pub(super) struct Reader<'a> {
    pub client: &'a kube::Client,
    pub namespace: &'a str,
    /// The pods of the target.
    pub selector: &'a str,
}

/// Where and what to read, for messages: `pods.metrics.k8s.io`.
struct Source<'a> {
    api: &'a str,
    what: String,
    path: String,
    query: Vec<(&'a str, String)>,
}

/// Escapes what may stand in a query's value.
fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~*".contains(byte);
    text.bytes()
        .map(|byte| match plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// A label selector in its text form.
fn text_of(selector: Option<&LabelSelector>) -> Result<Option<String>, String> {
    let Some(selector) = selector else {
        return Ok(None);
    };
    let value = crate::write::json_of(selector);
    let parsed = api::labels::Selector::from_label_selector(&value);
    let text = parsed.map_err(|error| error.to_string())?.to_string();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn millis(value: &Value) -> Option<i64> {
    let quantity = api::quantity::Quantity::from_value(value).ok()?;
    Some(quantity.millis())
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn window(value: &Value) -> Option<SignedDuration> {
    let text = value.as_str()?;
    let parsed = text.parse::<SignedDuration>();
    parsed.ok().filter(|window| !window.is_negative())
}

impl Reader<'_> {
    async fn get(&self, source: &Source<'_>) -> Result<Value, String> {
        let mut path = source.path.clone();
        for (at, (name, value)) in source.query.iter().enumerate() {
            path.push(if at == 0 { '?' } else { '&' });
            path += &format!("{name}={}", escaped(value));
        }
        let request = http::Request::get(&path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let fetched = self.client.request::<Value>(request).await;
        fetched.map_err(|error| {
            let why = match crate::error::status(&error) {
                // The path is nobody's: no API of this name is registered.
                Some(status)
                    if status.code == 404
                        && status
                            .details
                            .as_ref()
                            .is_none_or(|details| details.name.is_empty()) =>
                {
                    format!(
                        "the server could not find the requested resource (get {})",
                        source.what
                    )
                }
                Some(status) => status.message.clone(),
                None => error.to_string(),
            };
            format!(
                "unable to fetch metrics from {} metrics API: {why}",
                source.api
            )
        })
    }

    /// CPU, memory and the like of the target's pods, or of one container in each.
    pub async fn resource(
        &self,
        resource: &str,
        container: Option<&str>,
    ) -> Result<Samples, String> {
        let source = Source {
            api: "resource",
            what: "pods.metrics.k8s.io".to_owned(),
            path: format!(
                "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods",
                self.namespace
            ),
            query: vec![("labelSelector", self.selector.to_owned())],
        };
        let list = self.get(&source).await?;
        let samples = resource_samples(&list, resource, container)?;
        samples.ok_or_else(|| "no metrics returned from resource metrics API".to_owned())
    }

    /// A custom metric of each of the target's pods.
    pub async fn pods(
        &self,
        metric: &str,
        selector: Option<&LabelSelector>,
    ) -> Result<Samples, String> {
        let mut query = vec![("labelSelector", self.selector.to_owned())];
        query.extend(text_of(selector)?.map(|text| ("metricLabelSelector", text)));
        let list = self
            .custom(
                &format!("namespaces/{}/pods/*/{}", self.namespace, escaped(metric)),
                query,
            )
            .await?;
        let items = list["items"].as_array().filter(|items| !items.is_empty());
        let items = items.ok_or("no metrics returned from custom metrics API")?;
        let sample = |item: &Value| {
            let name = item["describedObject"]["name"].as_str()?.to_owned();
            let seconds = item["windowSeconds"]
                .as_i64()
                .or_else(|| item["window"].as_i64());
            let sample = Sample {
                value: millis(&item["value"])?,
                at: time(&item["timestamp"]),
                window: seconds.map_or(WINDOW, SignedDuration::from_secs),
            };
            Some((name, sample))
        };
        Ok(items.iter().filter_map(sample).collect())
    }

    /// A custom metric of one object.
    pub async fn object(
        &self,
        object: &CrossVersionObjectReference,
        metric: &str,
        selector: Option<&LabelSelector>,
    ) -> Result<i64, String> {
        let query = text_of(selector)?.map(|text| ("metricLabelSelector", text));
        let core = object
            .api_version
            .as_deref()
            .is_none_or(|version| !version.contains('/'));
        let metric = escaped(metric);
        let path = if object.kind == "Namespace" && core {
            format!("namespaces/{}/metrics/{metric}", self.namespace)
        } else {
            let resource = super::resource_of(self.client, object).await?.qualified();
            format!(
                "namespaces/{}/{resource}/{}/{metric}",
                self.namespace, object.name
            )
        };
        let list = self.custom(&path, query.into_iter().collect()).await?;
        let value = list["items"].get(0).and_then(|item| millis(&item["value"]));
        value.ok_or_else(|| {
            "unable to fetch metrics from custom metrics API: the custom metrics API server returned no values".to_owned()
        })
    }

    async fn custom(&self, path: &str, query: Vec<(&str, String)>) -> Result<Value, String> {
        let mut failure = None;
        for version in ["v1beta2", "v1beta1"] {
            let source = Source {
                api: "custom",
                what: "custom.metrics.k8s.io".to_owned(),
                path: format!("/apis/custom.metrics.k8s.io/{version}/{path}"),
                query: query.clone(),
            };
            match self.get(&source).await {
                Ok(list) => return Ok(list),
                Err(why) => {
                    let nowhere = why.contains("could not find the requested resource");
                    failure = failure.or(Some(why));
                    if !nowhere {
                        break;
                    }
                }
            }
        }
        let nowhere = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
        match failure {
            Some(why) if !why.contains("could not find the requested resource") => Err(why),
            _ => Err(nowhere.to_owned()),
        }
    }

    /// A metric of nothing within the cluster; the sum of what matches.
    pub async fn external(
        &self,
        metric: &str,
        selector: Option<&LabelSelector>,
    ) -> Result<i64, String> {
        let source = Source {
            api: "external",
            what: format!("{metric}.external.metrics.k8s.io"),
            path: format!(
                "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}",
                self.namespace,
                escaped(metric)
            ),
            query: text_of(selector)?
                .map(|text| ("labelSelector", text))
                .into_iter()
                .collect(),
        };
        let list = self.get(&source).await?;
        let items = list["items"].as_array().filter(|items| !items.is_empty());
        let items = items.ok_or("no metrics returned from external metrics API")?;
        let values = items.iter().filter_map(|item| millis(&item["value"]));
        Ok(values.fold(0i64, i64::saturating_add))
    }
}

/// The samples in a list of PodMetrics; none if the list is empty. A pod of which a container says
/// nothing is left out; one that lacks the container asked for is an error.
fn resource_samples(
    list: &Value,
    resource: &str,
    container: Option<&str>,
) -> Result<Option<Samples>, String> {
    let Some(items) = list["items"].as_array().filter(|items| !items.is_empty()) else {
        return Ok(None);
    };
    if let Some(only) = container {
        let lacks = |item: &&Value| {
            let mut containers = item["containers"].as_array().into_iter().flatten();
            !containers.any(|one| one["name"] == only)
        };
        if let Some(item) = items.iter().find(lacks) {
            let meta = |name: &str| item["metadata"][name].as_str().unwrap_or_default();
            return Err(format!(
                "failed to get container metrics: container {only} not present in metrics for pod {}/{}",
                meta("namespace"),
                meta("name")
            ));
        }
    }
    let sample = |item: &Value| {
        let name = item["metadata"]["name"].as_str()?.to_owned();
        let containers = item["containers"].as_array()?;
        let usage = |one: &Value| millis(&one["usage"][resource]);
        let value = match container {
            Some(only) => usage(containers.iter().find(|one| one["name"] == only)?)?,
            None if containers.is_empty() => return None,
            None => containers
                .iter()
                .map(usage)
                .try_fold(0i64, |sum, value| Some(sum.saturating_add(value?)))?,
        };
        let sample = Sample {
            value,
            at: time(&item["timestamp"]),
            window: window(&item["window"]).unwrap_or(WINDOW),
        };
        Some((name, sample))
    };
    Ok(Some(items.iter().filter_map(sample).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn samples_of_pods_and_containers() {
        let pod = |name: &str, containers: Value| {
            json!({"metadata": {"name": name, "namespace": "ns"}, "timestamp": "2026-01-01T00:00:00Z",
                "window": "30s", "containers": containers})
        };
        let mut list = json!({"items": [
            pod("a", json!([{"name": "main", "usage": {"cpu": "100m"}}, {"name": "side", "usage": {"cpu": "1500u"}}])),
            pod("b", json!([{"name": "main", "usage": {"memory": "1Ki"}}])),
        ]});
        let values = |resource, container| -> Vec<_> {
            let samples = resource_samples(&list, resource, container)
                .unwrap()
                .unwrap();
            samples
                .into_iter()
                .map(|(name, sample)| (name, sample.value))
                .collect()
        };
        assert_eq!(values("cpu", None), [("a".to_owned(), 102)]);
        assert_eq!(values("cpu", Some("main")), [("a".to_owned(), 100)]);
        assert_eq!(
            values("memory", Some("main")),
            [("b".to_owned(), 1_024_000)]
        );
        assert_eq!(
            resource_samples(&json!({"items": []}), "cpu", None),
            Ok(None)
        );
        let sample = resource_samples(&list, "cpu", None).unwrap().unwrap()["a"];
        assert_eq!(sample.window.as_secs(), 30);
        list["items"][1]["containers"] = json!([]);
        let of_all = resource_samples(&list, "cpu", None).unwrap().unwrap();
        assert_eq!(of_all.len(), 1, "a pod without containers is left out");
        let why = resource_samples(&list, "cpu", Some("main")).unwrap_err();
        assert!(why.ends_with("container main not present in metrics for pod ns/b"));
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escaped("a in (b,c),d=e"), "a%20in%20%28b%2Cc%29%2Cd%3De");
    }
}
