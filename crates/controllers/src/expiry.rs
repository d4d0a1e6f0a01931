//! Objects that are removed at a time that can be read off them: answered requests, tokens, Leases of
//! who is gone.

use client::controller::Requeue;
use client::{Change, Informer, Key};
use jiff::Timestamp;
use kube::Api;

use crate::error::Error;
use crate::kit::{Kit, until};
use crate::write::{self, Known};

/// Removes each object once its time has come, until the shutdown. What was written since it was read
/// is looked at again.
pub(crate) async fn sweep<K: Known>(
    kit: Kit,
    objects: Informer<K>,
    api: fn(kube::Client, &str) -> Api<K>,
    expiry: fn(&K) -> Option<Timestamp>,
) {
    let queue = kit.queue::<Key>();
    if !kit.synced(&objects).await {
        return;
    }
    kit.follow(&objects, &queue, move |change: Change<K>| {
        let object = change.object();
        (!change.is_deleted() && expiry(object).is_some()).then(|| Key::of(&**object))
    });
    let inner = kit.clone();
    kit.run(queue, move |key: Key| {
        let (kit, objects) = (inner.clone(), objects.clone());
        async move {
            let Some(object) = objects.store().get_key(&key) else {
                return Ok(Requeue::OnChange);
            };
            let now = kit.now();
            match expiry(&object) {
                Some(at) if at > now => return Ok(Requeue::After(until(at, now))),
                Some(_) => {
                    let api = api(kit.client.clone(), &key.namespace);
                    write::delete_unchanged(&api, &*object).await?;
                }
                None => {}
            }
            Ok::<_, Error>(Requeue::OnChange)
        }
    })
    .await;
}
