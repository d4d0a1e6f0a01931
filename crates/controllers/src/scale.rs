//! The `scale` subresource of whatever kind discovery knows: found, read and written.

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;

use client::Key;

use crate::error::{On, status};

/// Tries when somebody else writes the scale at the same time.
const TRIES: usize = 5;

/// Under which version and name the objects of a kind are served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    api_version: String,
    plural: String,
    /// Has a `scale` subresource.
    pub scalable: bool,
}

impl Resource {
    /// In the version named if that serves the kind, else in the one its group prefers; none if
    /// neither does.
    pub async fn find(
        client: &kube::Client,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Self>, String> {
        let found = Self::served(client, api_version, kind).await?;
        let Some((group, _)) = api_version.split_once('/').filter(|_| found.is_none()) else {
            return Ok(found);
        };
        let groups = client.list_api_groups().await;
        let groups = groups.on("discover", "groups", Key::default);
        let groups = groups.map_err(|error| error.api_message())?.groups;
        let preferred = groups
            .into_iter()
            .find(|known| known.name == group)
            .and_then(|known| known.preferred_version)
            .filter(|preferred| preferred.group_version != api_version);
        match preferred {
            Some(preferred) => Self::served(client, &preferred.group_version, kind).await,
            None => Ok(None),
        }
    }

    async fn served(
        client: &kube::Client,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Self>, String> {
        let list = match api_version.split_once('/') {
            None => client.list_core_api_resources(api_version).await,
            Some(_) => client.list_api_group_resources(api_version).await,
        };
        match list.on("discover", "resources", || Key::new("", api_version)) {
            Ok(list) => Ok(Self::within(&list, api_version, kind)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.api_message()),
        }
    }

    fn within(list: &APIResourceList, api_version: &str, kind: &str) -> Option<Self> {
        let mut named = list.resources.iter();
        let found = named.find(|resource| resource.kind == kind && !resource.name.contains('/'))?;
        let scale = format!("{}/scale", found.name);
        Some(Self {
            api_version: api_version.to_owned(),
            plural: found.name.clone(),
            scalable: list.resources.iter().any(|resource| resource.name == scale),
        })
    }

    /// With its group, as messages and the metrics APIs name it: `deployments.apps`.
    pub fn qualified(&self) -> String {
        match self.api_version.split_once('/') {
            Some((group, _)) => format!("{}.{group}", self.plural),
            None => self.plural.clone(),
        }
    }
}

/// The scale of one object.
pub(crate) struct Scaled {
    path: String,
    scale: Scale,
}

/// What the API said, as events and conditions repeat it.
pub(crate) fn text(error: &kube::Error) -> String {
    status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}

async fn call(
    client: &kube::Client,
    method: http::Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Scale, kube::Error> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

impl Scaled {
    pub async fn read(
        client: &kube::Client,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Self, kube::Error> {
        let Resource {
            api_version,
            plural,
            ..
        } = resource;
        let root = match api_version.contains('/') {
            true => "apis",
            false => "api",
        };
        let path = format!("/{root}/{api_version}/namespaces/{namespace}/{plural}/{name}/scale");
        let scale = call(client, http::Method::GET, &path, Vec::new()).await?;
        Ok(Self { path, scale })
    }

    /// The object itself has this uid.
    pub fn is_of(&self, uid: &str) -> bool {
        self.scale.metadata.uid.as_deref() == Some(uid)
    }

    pub fn replicas(&self) -> i32 {
        let spec = self.scale.spec.as_ref();
        spec.and_then(|spec| spec.replicas).unwrap_or_default()
    }

    pub fn status_replicas(&self) -> i32 {
        let status = self.scale.status.as_ref();
        status.map(|status| status.replicas).unwrap_or_default()
    }

    pub fn selector(&self) -> &str {
        let status = self.scale.status.as_ref();
        status
            .and_then(|status| status.selector.as_deref())
            .unwrap_or_default()
    }

    /// Writes the number of replicas. A conflict is somebody else's write of another part of the
    /// object: tried again with the scale read anew, a few times.
    pub async fn write(&self, client: &kube::Client, replicas: i32) -> Result<(), String> {
        let mut scale = self.scale.clone();
        let mut tries = TRIES;
        loop {
            scale.spec.get_or_insert_default().replicas = Some(replicas);
            let body = serde_json::to_vec(&scale).map_err(|error| error.to_string())?;
            match call(client, http::Method::PUT, &self.path, body).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 && tries > 1 => {
                    tries -= 1;
                    scale = call(client, http::Method::GET, &self.path, Vec::new())
                        .await
                        .map_err(|error| text(&error))?;
                }
                Err(error) => return Err(text(&error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_can_be_scaled() {
        let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "kind": kind, "namespaced": true, "verbs": []});
        let list = json!({"groupVersion": "batch/v1", "resources": [
            resource("jobs", "Job"), resource("jobs/status", "Job"),
            resource("robots", "Robot"), resource("robots/scale", "Scale"),
        ]});
        let list: APIResourceList = serde_json::from_value(list).unwrap();
        let found = |kind| {
            let found = Resource::within(&list, "batch/v1", kind)?;
            Some((found.qualified(), found.scalable))
        };
        assert_eq!(found("Robot"), Some(("robots.batch".to_owned(), true)));
        assert_eq!(found("Job"), Some(("jobs.batch".to_owned(), false)));
        assert_eq!(found("Toy"), None);
    }
}
