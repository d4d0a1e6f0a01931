//! From objects to seats, with requests that wait.

use futures::FutureExt;

use super::*;
use crate::authentication::UserInfo;

fn control(seats: usize) -> Arc<FlowControl> {
    Arc::new(FlowControl::new(seats, Flows::default()))
}

fn request<'a>(
    user: &'a UserInfo,
    verb: &'a str,
    group: &'a str,
    resource: &'a str,
) -> Attributes<'a> {
    Attributes {
        verb,
        is_resource: true,
        group,
        resource,
        namespace: "default",
        ..Attributes::of(user)
    }
}

const ONE: Work = Work {
    seats: 1,
    final_seats: 0,
    lingers: Duration::ZERO,
};

fn names(control: &FlowControl, request: &Attributes<'_>) -> (String, String) {
    let class = control.classify(request);
    (class.schema_name().to_owned(), class.level.clone())
}

#[test]
fn requests_belong_where_upstream_puts_them() {
    let control = control(600);
    let user = |name: &str, groups: &[&str]| UserInfo::new(name, groups);
    let node = user("system:node:a", &["system:nodes", "system:authenticated"]);
    let admin = user("admin", &["system:masters", "system:authenticated"]);
    let account = UserInfo::service_account("default", "x");
    let system = UserInfo::service_account("kube-system", "x");
    let manager = user("system:kube-controller-manager", &["system:authenticated"]);
    let jane = user("jane", &["system:authenticated"]);
    for (user, verb, group, resource, schema, level) in [
        (&admin, "list", "", "pods", "exempt", "exempt"),
        (
            &node,
            "update",
            "coordination.k8s.io",
            "leases",
            "system-node-high",
            "node-high",
        ),
        (&node, "list", "", "pods", "system-nodes", "system"),
        (
            &manager,
            "update",
            "coordination.k8s.io",
            "leases",
            "system-leader-election",
            "leader-election",
        ),
        (
            &manager,
            "list",
            "",
            "pods",
            "kube-controller-manager",
            "workload-high",
        ),
        (
            &system,
            "list",
            "",
            "pods",
            "kube-system-service-accounts",
            "workload-high",
        ),
        (
            &account,
            "list",
            "",
            "pods",
            "service-accounts",
            "workload-low",
        ),
        (
            &jane,
            "list",
            "",
            "pods",
            "global-default",
            "global-default",
        ),
    ] {
        let found = names(&control, &request(user, verb, group, resource));
        assert_eq!(
            found,
            (schema.to_owned(), level.to_owned()),
            "{}",
            user.name
        );
    }
    let probe = Attributes {
        verb: "get",
        path: "/livez",
        ..Attributes::of(&jane)
    };
    assert_eq!(names(&control, &probe).0, "probes");
}

#[test]
fn limits_are_those_of_the_objects() {
    let control = control(600);
    let plan = control.plan.lock();
    let of = |name: &str| {
        let limits = plan.levels[name].limits;
        (limits.nominal, limits.least, limits.most)
    };
    // 245 shares altogether.
    assert_eq!(of("node-high"), (98, 73, 600));
    assert_eq!(of("workload-low"), (245, 24, 600));
    assert_eq!(of("catch-all"), (13, 13, 600));
    assert!(plan.levels["exempt"].limits.exempt);
    assert_eq!(plan.levels["catch-all"].limits.queuing, None);
}

#[tokio::test]
async fn a_flood_by_one_user_does_not_keep_nodes_waiting() {
    let control = control(100);
    let flooder = UserInfo::new("flood", &["system:authenticated"]);
    let node = UserInfo::new("system:node:a", &["system:nodes", "system:authenticated"]);
    let flood = request(&flooder, "create", "", "configmaps");
    let mut held = Vec::new();
    // As many as are let in at once.
    while let Some(seats) = control
        .enter(control.classify(&flood), &flood, ONE)
        .now_or_never()
    {
        held.push(seats.unwrap());
    }
    assert!(held.len() > 20, "what others do not use is lent");
    let heartbeat = request(&node, "update", "coordination.k8s.io", "leases");
    let mut beats = Vec::new();
    for _ in 0..12 {
        let entered = control.enter(control.classify(&heartbeat), &heartbeat, ONE);
        beats.push(entered.now_or_never().expect("no wait").unwrap());
    }
    // Another user of the flooded level has the next seat before most of what the flood queued.
    let jane = UserInfo::new("jane", &["system:authenticated"]);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let (control, flooder) = (control.clone(), flooder.clone());
        waiting.push(tokio::spawn(async move {
            let flood = request(&flooder, "create", "", "configmaps");
            control.enter(control.classify(&flood), &flood, ONE).await
        }));
    }
    let asked = {
        let (control, jane) = (control.clone(), jane.clone());
        tokio::spawn(async move {
            let ask = request(&jane, "list", "", "pods");
            control
                .enter(control.classify(&ask), &ask, ONE)
                .await
                .map(|_| ())
        })
    };
    while control.plan.lock().levels["global-default"].waiting < 21 {
        tokio::task::yield_now().await;
    }
    // Each flow has several queues, so a seat for each of the flood's comes before jane's.
    held.truncate(held.len() - 8);
    asked.await.unwrap().unwrap();
    let still = control.plan.lock().levels["global-default"].waiting;
    assert!(still >= 10, "{still} of the flood still wait");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_waits_too_long_is_sent_away_and_who_leaves_makes_place() {
    let mut control = FlowControl::new(10, Flows::default());
    control.patience = Duration::from_millis(5);
    let control = Arc::new(control);
    let jane = UserInfo::new("jane", &["system:authenticated"]);
    let ask = request(&jane, "list", "", "pods");
    let enter = || control.enter(control.classify(&ask), &ask, ONE);
    let mut held = Vec::new();
    while let Some(seats) = enter().now_or_never() {
        held.push(seats.unwrap());
    }
    let refused = enter().await.err().unwrap();
    assert_eq!(refused.code, 429);
    assert_eq!(refused.reason, "TooManyRequests");
    assert_eq!(refused.details.unwrap().retry_after_seconds, 1);
    // The one that was dropped above waits no longer, nor does the one sent away.
    assert_eq!(control.plan.lock().levels["global-default"].waiting, 0);
    let seats = held.len() as u64;
    assert_eq!(control.plan.lock().levels["global-default"].seats, seats);
    held.clear();
    assert!(control.plan.lock().levels["global-default"].is_idle());
}

#[tokio::test]
async fn watchers_cost_seats_a_little_longer() {
    let control = control(10);
    let jane = UserInfo::new("jane", &["system:authenticated"]);
    let write = request(&jane, "create", "", "pods");
    let work = Work {
        seats: 2,
        final_seats: 1,
        lingers: Duration::from_millis(5),
    };
    let seats = control
        .enter(control.classify(&write), &write, work)
        .await
        .unwrap();
    drop(seats);
    assert_eq!(control.plan.lock().levels["global-default"].seats, 1);
    let idle = async {
        while !control.plan.lock().levels["global-default"].is_idle() {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, idle)
        .await
        .expect("idle within 20 s");
}
