//! Makes sure that a container's image is on the node.

use std::sync::Arc;

use client::events::EventType;
use cri::v1;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;

use super::pull_secrets;
use crate::{
    agent::Agent,
    pods::{
        plan::{Image, Waiting},
        view::PodView,
    },
    runtime_client::RuntimeError,
};

/// First and longest wait after a failed pull.
const FIRST_WAIT: i64 = 10;
const LONGEST_WAIT: i64 = 300;
/// How long the status shows the error before it shows the back-off.
const SHOW_ERROR: SignedDuration = SignedDuration::from_secs(3);

/// Why an image is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageError {
    /// CamelCase reason of the container's status.
    pub reason: &'static str,
    /// Sentence.
    pub message: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The image's reference in the runtime.
    pub reference: String,
    /// Its user as a number, where the image gives one.
    pub uid: Option<i64>,
    /// Its user by name.
    pub username: String,
}

/// Whether an image's name can be one.
fn valid(image: &str) -> bool {
    let rest = image.split('@').next().unwrap_or_default();
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let mut parts = path.split('/').peekable();
    let mut first = true;
    let mut ok = !path.is_empty();
    while let Some(part) = parts.next() {
        let is_host = first && parts.peek().is_some();
        ok &= !part.is_empty()
            && part.chars().all(|c| {
                c.is_ascii_lowercase()
                    || c.is_ascii_digit()
                    || "._-".contains(c)
                    || (is_host && (c == ':' || c == '[' || c == ']' || c.is_ascii_uppercase()))
            })
            && !part.starts_with(['.', '-', '_'])
            && !part.ends_with(['.', '-', '_']);
        first = false;
    }
    ok && tag.is_none_or(|tag| {
        !tag.is_empty()
            && tag.len() <= 128
            && tag
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    })
}

/// The policy of a container: its own, or by its tag.
pub fn policy(container: &Container) -> &str {
    match container.image_pull_policy.as_deref() {
        Some(policy) if !policy.is_empty() => policy,
        _ => {
            let image = container.image.as_deref().unwrap_or_default();
            let name = image.rsplit('/').next().unwrap_or_default();
            if !name.contains('@') && (!name.contains(':') || name.ends_with(":latest")) {
                "Always"
            } else {
                "IfNotPresent"
            }
        }
    }
}

/// Looks for the image, and pulls it where the policy says so.
pub async fn ensure(
    agent: Arc<Agent>,
    pod: PodView,
    container: Container,
) -> Result<Found, ImageError> {
    let image = container.image.clone().unwrap_or_default();
    let name = container.name.as_str();
    let warn = |reason: &str, message: &str| {
        agent.pod_event(&pod, Some(name), EventType::Warning, reason, message);
    };
    if !valid(&image) {
        let message = format!(
            "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
        );
        warn("InspectFailed", &message);
        return Err(ImageError {
            reason: "InvalidImageName",
            message,
        });
    }
    let policy = policy(&container);
    let present = match status(&agent, &image).await {
        Ok(present) => present,
        Err(error) => {
            let message = format!("Failed to inspect image {image:?}: {error}");
            warn("InspectFailed", &message);
            return Err(ImageError {
                reason: "ImageInspectError",
                message,
            });
        }
    };
    if let Some(found) = present.filter(|_| policy != "Always") {
        agent.pod_event(
            &pod,
            Some(name),
            EventType::Normal,
            "Pulled",
            format!("Container image {image:?} already present on machine"),
        );
        return Ok(found);
    }
    if policy == "Never" {
        let message = format!("Container image {image:?} is not present with pull policy of Never");
        warn("ErrImageNeverPull", &message);
        return Err(ImageError {
            reason: "ErrImageNeverPull",
            message,
        });
    }
    pull(&agent, &pod, name, &image).await
}

async fn pull(
    agent: &Arc<Agent>,
    pod: &PodView,
    container: &str,
    image: &str,
) -> Result<Found, ImageError> {
    let asked = agent.now();
    agent.pod_event(
        pod,
        Some(container),
        EventType::Normal,
        "Pulling",
        format!("Pulling image {image:?}"),
    );
    // Others' pulls are waited for; the semaphore is never closed.
    let permit = agent.pulls.clone().acquire_owned().await.ok();
    let begun = agent.now();
    let spec = v1::ImageSpec {
        image: image.to_owned(),
        user_specified_image: image.to_owned(),
        ..Default::default()
    };
    let mut tries: Vec<Option<v1::AuthConfig>> = pull_secrets::find(agent, pod, image)
        .await
        .into_iter()
        .map(Some)
        .collect();
    if tries.is_empty() {
        tries.push(None);
    }
    let mut result = Err(RuntimeError {
        code: tonic::Code::Unknown,
        message: "no pull was tried".to_owned(),
    });
    for auth in tries {
        result = agent
            .runtime
            .pull_image(v1::PullImageRequest {
                image: Some(spec.clone()),
                auth,
                sandbox_config: None,
            })
            .await;
        if result.is_ok() {
            break;
        }
    }
    drop(permit);
    let reference = match result {
        Ok(answer) => answer.image_ref,
        Err(error) => {
            agent.pod_event(
                pod,
                Some(container),
                EventType::Warning,
                "Failed",
                format!("Failed to pull image {image:?}: {error}"),
            );
            agent.pod_event(
                pod,
                Some(container),
                EventType::Warning,
                "Failed",
                "Error: ErrImagePull",
            );
            return Err(ImageError {
                reason: "ErrImagePull",
                message: error.to_string(),
            });
        }
    };
    let done = agent.now();
    let size = agent
        .runtime
        .image_status(v1::ImageStatusRequest {
            image: Some(spec),
            verbose: false,
        })
        .await
        .ok()
        .and_then(|answer| answer.image);
    agent.pod_event(
        pod,
        Some(container),
        EventType::Normal,
        "Pulled",
        format!(
            "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {} bytes.",
            duration(done.duration_since(begun)),
            duration(done.duration_since(asked)),
            size.as_ref().map_or(0, |i| i.size)
        ),
    );
    Ok(Found {
        reference,
        uid: size.as_ref().and_then(|i| i.uid).map(|u| u.value),
        username: size.map(|i| i.username).unwrap_or_default(),
    })
}

fn duration(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        format!("{millis}ms")
    } else {
        format!("{}.{:03}s", millis / 1000, millis % 1000)
    }
}

/// The image on the node, if it is there.
pub async fn status(agent: &Agent, image: &str) -> Result<Option<Found>, RuntimeError> {
    let answer = agent
        .runtime
        .image_status(v1::ImageStatusRequest {
            image: Some(v1::ImageSpec {
                image: image.to_owned(),
                ..Default::default()
            }),
            verbose: false,
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.image.map(|image| Found {
            uid: image.uid.map(|u| u.value),
            username: image.username,
            reference: image.id,
        })),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a failure shows and when to try again; `before` is the state it follows.
pub fn failed(image: &str, error: ImageError, failures: u32, now: Timestamp) -> Image {
    let wait = (FIRST_WAIT << failures.min(8)).min(LONGEST_WAIT);
    let retry_at = now + SignedDuration::from_secs(wait);
    let back_off = if error.reason == "ErrImagePull" {
        Waiting {
            reason: "ImagePullBackOff".to_owned(),
            message: format!(
                "Back-off pulling image {image:?}: ErrImagePull: {}",
                error.message
            ),
        }
    } else {
        Waiting {
            reason: error.reason.to_owned(),
            message: error.message.clone(),
        }
    };
    Image::Failed {
        retry_at,
        back_off_at: now + SHOW_ERROR,
        error: Waiting {
            reason: error.reason.to_owned(),
            message: error.message,
        },
        back_off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "nginx",
            "nginx:1.27",
            "corten.local/tools",
            "localhost:5000/a/b:latest",
            "r.example/a@sha256:0123",
            "A.example:5000/x",
        ] {
            assert!(valid(good), "{good}");
        }
        for bad in ["", "Nginx", "a//b", "a:", "a b", "a/-b", "x:tag with space"] {
            assert!(!valid(bad), "{bad}");
        }
    }

    #[test]
    fn policies() {
        let of = |image: &str, own: Option<&str>| {
            policy(&Container {
                image: Some(image.into()),
                image_pull_policy: own.map(str::to_owned),
                ..Default::default()
            })
            .to_owned()
        };
        assert_eq!(of("a", None), "Always");
        assert_eq!(of("r:5000/a:latest", None), "Always");
        assert_eq!(of("r:5000/a:1", None), "IfNotPresent");
        assert_eq!(of("a@sha256:00", None), "IfNotPresent");
        assert_eq!(of("a", Some("Never")), "Never");
    }
}
