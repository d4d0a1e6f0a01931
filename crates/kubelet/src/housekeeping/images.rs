//! Removes images that no container uses when the disk fills up, those unused for longest first.

use std::collections::{HashMap, HashSet};

use client::events::EventType;
use cri::v1;
use jiff::{SignedDuration, Timestamp};

use super::disk;
use crate::agent::Agent;

/// An image younger than this is left alone: its container may be about to start.
const MIN_AGE: SignedDuration = SignedDuration::from_mins(2);

/// Remembers when images were last used.
#[derive(Debug, Default)]
pub struct Collector {
    seen: HashMap<String, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Timestamp,
    used: Timestamp,
}

/// Which images to remove to free so many bytes. Pure.
fn choose(
    images: &[(String, u64, Timestamp, Timestamp)],
    to_free: u64,
    now: Timestamp,
) -> Vec<String> {
    let mut candidates: Vec<_> = images
        .iter()
        .filter(|(_, _, first, _)| now.duration_since(*first) >= MIN_AGE)
        .collect();
    candidates.sort_by_key(|(_, _, first, used)| (*used, *first));
    let mut freed = 0;
    let mut out = Vec::new();
    for (id, size, ..) in candidates {
        if freed >= to_free {
            break;
        }
        freed += size;
        out.push(id.clone());
    }
    out
}

impl Collector {
    /// Looks at the disk, and collects if it is full; `pressed` collects everything unused.
    pub async fn collect(&mut self, agent: &Agent, pressed: bool) {
        let (Ok(images), Ok(containers)) = (
            agent
                .runtime
                .list_images(v1::ListImagesRequest::default())
                .await,
            agent
                .runtime
                .list_containers(v1::ListContainersRequest::default())
                .await,
        ) else {
            return;
        };
        let now = agent.now();
        let used: HashSet<&str> = containers
            .containers
            .iter()
            .flat_map(|c| [c.image_ref.as_str(), c.image_id.as_str()])
            .collect();
        self.seen
            .retain(|id, _| images.images.iter().any(|i| i.id == *id));
        for image in &images.images {
            let seen = self.seen.entry(image.id.clone()).or_insert(Seen {
                first: now,
                used: Timestamp::UNIX_EPOCH,
            });
            let names = image.repo_digests.iter().chain(&image.repo_tags);
            if used.contains(image.id.as_str()) || names.clone().any(|n| used.contains(n.as_str()))
            {
                seen.used = now;
            }
        }
        let Some(to_free) = self.to_free(agent, pressed) else {
            return;
        };
        let unused: Vec<_> = images
            .images
            .iter()
            .filter(|i| !i.pinned)
            .filter_map(|i| {
                let seen = self.seen.get(&i.id)?;
                (seen.used != now).then(|| (i.id.clone(), i.size, seen.first, seen.used))
            })
            .collect();
        let chosen = choose(&unused, to_free, now);
        let mut freed = 0;
        for id in chosen {
            let request = v1::RemoveImageRequest {
                image: Some(v1::ImageSpec {
                    image: id.clone(),
                    ..Default::default()
                }),
            };
            match agent.runtime.remove_image(request).await {
                Ok(_) => freed += unused.iter().find(|i| i.0 == id).map_or(0, |i| i.1),
                Err(error) => tracing::info!(image = %id, %error, "image is not removed"),
            }
        }
        if freed < to_free && !pressed {
            agent.node_event(
                EventType::Warning,
                "FreeDiskSpaceFailed",
                format!(
                    "Failed to garbage collect required amount of images. Attempted to free {to_free} bytes, but only found {freed} bytes eligible to free."
                ),
            );
        }
    }

    /// How much has to go; none when there is room.
    fn to_free(&self, agent: &Agent, pressed: bool) -> Option<u64> {
        if pressed {
            return Some(u64::MAX);
        }
        let (used, total) = disk::usage(&agent.config.root_dir)?;
        let percent = used.checked_mul(100)?.checked_div(total)?;
        if percent < u64::from(agent.config.image_gc_high_percent) {
            return None;
        }
        let goal = total / 100 * u64::from(agent.config.image_gc_low_percent);
        Some(used.saturating_sub(goal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first_and_no_more_than_needed() {
        let at = |s| Timestamp::from_second(s).expect("in range");
        let images = [
            ("new".to_owned(), 10, at(990), at(0)),
            ("old-used-late".to_owned(), 10, at(0), at(900)),
            ("old-used-early".to_owned(), 10, at(0), at(100)),
            ("never".to_owned(), 10, at(500), at(0)),
        ];
        assert_eq!(choose(&images, 15, at(1000)), ["never", "old-used-early"]);
        assert_eq!(
            choose(&images, u64::MAX, at(1000)),
            ["never", "old-used-early", "old-used-late"]
        );
        assert!(choose(&images, 0, at(1000)).is_empty());
    }
}
