//! The scale of what an autoscaler scales: read and written through the `scale` subresource of
//! whatever kind that is.

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;

/// Tries when somebody else writes the scale at the same time.
const TRIES: usize = 5;

pub(super) struct Target {
    path: String,
    scale: Scale,
}

fn text(error: &kube::Error) -> String {
    crate::error::status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}

fn request(method: &str, path: &str, body: Vec<u8>) -> Result<http::Request<Vec<u8>>, String> {
    http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body)
        .map_err(|error| error.to_string())
}

impl Target {
    /// Reads the scale; else says why not, as events and conditions repeat it.
    pub async fn read(
        client: &kube::Client,
        namespace: &str,
        target: &CrossVersionObjectReference,
    ) -> Result<Self, String> {
        let api_version = target.api_version.as_deref().unwrap_or("v1");
        if api_version.matches('/').count() > 1 {
            return Err(format!("unexpected GroupVersion string: {api_version}"));
        }
        let (api_version, plural) = super::resource_of(client, api_version, &target.kind).await?;
        let root = match api_version.contains('/') {
            true => format!("/apis/{api_version}"),
            false => format!("/api/{api_version}"),
        };
        let path = format!(
            "{root}/namespaces/{namespace}/{plural}/{}/scale",
            target.name
        );
        let scale = client
            .request::<Scale>(request("GET", &path, Vec::new())?)
            .await
            .map_err(|error| text(&error))?;
        Ok(Self { path, scale })
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
            match client
                .request::<Scale>(request("PUT", &self.path, body)?)
                .await
            {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 && tries > 1 => {
                    tries -= 1;
                    let fresh = client
                        .request::<Scale>(request("GET", &self.path, Vec::new())?)
                        .await;
                    scale = fresh.map_err(|error| text(&error))?;
                }
                Err(error) => return Err(text(&error)),
            }
        }
    }
}
