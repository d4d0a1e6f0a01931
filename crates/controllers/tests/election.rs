//! Several of which one leads: whoever lost its Lease writes no more, however long it slept.

use std::sync::Arc;
use std::time::Duration;

use api::clock::SystemClock;
use client::election::{Config, Ended, LeaderElector};
use client::metrics::Metrics;
use client::random::Seeded;
use client::{Fence, in_process};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use kube::client::Body;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;

fn elector(identity: &str, client: kube::Client, fence: &Fence) -> LeaderElector {
    let config = Config {
        lease: Duration::from_secs(2),
        renew_deadline: Duration::from_secs(1),
        retry: Duration::from_millis(100),
        ..Config::new("kube-system", "test", identity)
    };
    let random = Arc::new(Seeded::from_system());
    let clock = Arc::new(SystemClock);
    LeaderElector::new(config, client, fence.clone(), clock, random, Metrics::new())
}

/// A way to the API that answers nothing any more once it is cut.
fn cuttable(client: kube::Client, cut: CancellationToken) -> kube::Client {
    in_process(tower::service_fn(move |request: http::Request<Body>| {
        let (client, cut) = (client.clone(), cut.clone());
        async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => std::future::pending().await,
                answer = client.send(request) => answer,
            }
        }
    }))
}

async fn write(client: &kube::Client, name: &str) -> Result<ConfigMap, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await
}

#[tokio::test]
async fn whoever_lost_the_lease_writes_no_more() {
    let cluster = Cluster::without_controllers().await;
    let (cut, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let fences = [Fence::default(), Fence::default()];
    let guarded = fences.each_ref().map(|f| f.guard(cluster.client.clone()));
    assert!(
        write(&guarded[0], "early").await.is_err(),
        "not a leader yet"
    );

    let first = elector(
        "first",
        cuttable(cluster.client.clone(), cut.clone()),
        &fences[0],
    );
    let (leads, led) = oneshot::channel();
    let first = tokio::spawn(async move {
        let work = |_| async move {
            leads.send(()).unwrap();
            // Hangs in its work: the term's end does not end it.
            std::future::pending().await
        };
        first.run(CancellationToken::new(), work).await
    });
    led.await.unwrap();
    write(&guarded[0], "first").await.unwrap();

    cut.cancel();
    let second = elector("second", cluster.client.clone(), &fences[1]);
    let (leads, led) = oneshot::channel();
    let done = shutdown.clone();
    let second = tokio::spawn(async move {
        let work = |term: CancellationToken| async move {
            leads.send(()).unwrap();
            term.cancelled().await;
        };
        second.run(done, work).await
    });
    led.await.unwrap();
    write(&guarded[1], "second").await.unwrap();
    let refused = write(&guarded[0], "late").await.unwrap_err();
    assert!(refused.to_string().contains("not held"), "{refused}");
    assert_eq!(first.await.unwrap(), Ended::Lost);
    shutdown.cancel();
    assert_eq!(second.await.unwrap(), Ended::Shutdown);
    assert!(write(&guarded[1], "after").await.is_err());
    cluster.stop().await;
}
