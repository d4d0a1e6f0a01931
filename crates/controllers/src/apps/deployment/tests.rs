//! Rollouts planned step by step, with a ReplicaSet controller that answers at once, late or never.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::plan::{Action, plan};
use super::status::{self, Outcome};
use super::{revision, rollout};

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1, "annotations": {"team": "a"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy,
            "revisionHistoryLimit": 1,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// The ReplicaSets of a test; `step` does what the plan says.
struct World {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    clock: i64,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            sets: Vec::new(),
            clock: 0,
        }
    }

    fn step(&mut self) -> Vec<String> {
        self.step_with(|_| false)
    }

    fn step_with(&mut self, has_pods: impl Fn(&ReplicaSet) -> bool) -> Vec<String> {
        let plan = plan(&self.deployment, &self.sets, has_pods);
        let mut done = Vec::new();
        for action in plan.actions {
            match action {
                Action::Create(set) => {
                    let mut set = *set;
                    self.clock += 1;
                    set.metadata.uid = set.metadata.name.clone();
                    set.metadata.creation_timestamp =
                        Some(Time(Timestamp::from_second(self.clock).unwrap()));
                    done.push(format!(
                        "create {}",
                        set.spec.as_ref().unwrap().replicas.unwrap()
                    ));
                    self.sets.push(Arc::new(set));
                }
                Action::Update { set, patch, scaled } => {
                    if let Some((from, to)) = scaled {
                        done.push(format!("r{} {from}>{to}", revision::number(&set.metadata)));
                    }
                    let at = self
                        .sets
                        .iter()
                        .position(|other| other.metadata.uid == set.metadata.uid)
                        .unwrap();
                    let mut value = serde_json::to_value(&*self.sets[at]).unwrap();
                    merge(&mut value, &patch);
                    self.sets[at] = Arc::new(serde_json::from_value(value).unwrap());
                }
                Action::Delete(set) => {
                    done.push(format!("delete r{}", revision::number(&set.metadata)));
                    self.sets
                        .retain(|other| other.metadata.uid != set.metadata.uid);
                }
                Action::Rollback(rollback) => {
                    done.push(rollback.reason.to_owned());
                    self.deployment = *rollback.deployment;
                }
            }
        }
        done
    }

    /// Every ReplicaSet has all the pods it wants, available.
    fn settle(&mut self) {
        self.settle_with(|wanted| wanted);
    }

    fn settle_with(&mut self, available: impl Fn(i32) -> i32) {
        for set in &mut self.sets {
            let set = Arc::make_mut(set);
            let wanted = set.spec.as_ref().unwrap().replicas.unwrap();
            let status = set.status.get_or_insert_default();
            status.replicas = wanted;
            status.available_replicas = Some(available(wanted));
            status.ready_replicas = Some(available(wanted));
            status.observed_generation = Some(1);
        }
        self.observe();
    }

    fn observe(&mut self) {
        let new = self
            .sets
            .iter()
            .find(|set| revision::same_template(&self.deployment, set))
            .cloned();
        let now = Time(Timestamp::from_second(self.clock).unwrap());
        let next = status::next(
            &self.deployment,
            &self.sets,
            new.as_deref(),
            &Outcome::Nothing,
            &now,
        );
        self.deployment.status = Some(next.status);
    }

    fn set_image(&mut self, image: &str) {
        let spec = self.deployment.spec.as_mut().unwrap();
        spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets
            .iter()
            .map(|set| set.spec.as_ref().unwrap().replicas.unwrap())
            .collect()
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let (Some(target), Some(patch)) = (target.as_object_mut(), patch.as_object()) else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(_) => merge(target.entry(name).or_insert_with(|| json!({})), value),
            _ => {
                target.insert(name.clone(), value.clone());
            }
        }
    }
}

#[test]
fn rolls_over_within_surge_and_availability() {
    let mut world = World::new(deployment(4, "a", rolling(json!(1), json!("25%"))));
    assert_eq!(world.step(), ["create 4"]);
    assert!(world.step().is_empty(), "the same state plans nothing more");
    world.settle();
    assert!(world.step().is_empty());
    world.set_image("b");
    assert_eq!(world.step(), ["create 1"]);
    assert_eq!(
        world.step(),
        ["r1 4>3"],
        "one may be unavailable, also before the new one is"
    );
    assert_eq!(world.step(), ["r2 1>2"], "which makes room for one more");
    assert!(world.step().is_empty(), "a stale status moves nothing");
    world.settle_with(|wanted| if wanted == 2 { 0 } else { wanted });
    assert!(
        world.step().is_empty(),
        "nor do new pods that are not available"
    );
    let mut steps = 0;
    while world.sizes() != [0, 4] {
        world.settle();
        world.step();
        let total: i32 = world.sizes().iter().sum();
        assert!((3..=5).contains(&total), "{:?}", world.sizes());
        steps += 1;
        assert!(steps < 20);
    }
    world.set_image("a");
    world.settle();
    world.step();
    let revisions: Vec<_> = world
        .sets
        .iter()
        .map(|set| revision::number(&set.metadata))
        .collect();
    assert_eq!(
        revisions,
        [3, 2],
        "going back makes the old ReplicaSet the newest revision"
    );
    assert_eq!(
        world.sets[0].metadata.annotations.as_ref().unwrap()[revision::HISTORY],
        "1"
    );
    assert_eq!(
        world.sets[0].metadata.annotations.as_ref().unwrap()["team"],
        "a"
    );
}

#[test]
fn broken_old_pods_go_first() {
    let mut world = World::new(deployment(10, "a", rolling(json!(0), json!(2))));
    world.step();
    world.settle_with(|_| 3);
    world.set_image("b");
    world.step();
    let sizes = world.sizes();
    assert_eq!(sizes, [10, 0]);
    assert_eq!(
        world.step(),
        ["r1 10>8"],
        "8 must stay, and 7 of the 10 are broken"
    );
    world.settle_with(|wanted| if wanted == 8 { 3 } else { 0 });
    assert_eq!(world.step(), ["r2 0>2"]);
    assert!(
        world.step().is_empty(),
        "nothing can go while only 3 are available"
    );
}

#[test]
fn recreates_only_when_the_old_pods_are_gone() {
    let mut world = World::new(deployment(2, "a", json!({"type": "Recreate"})));
    assert_eq!(world.step(), ["create 2"]);
    world.settle();
    world.set_image("b");
    assert_eq!(world.step_with(|_| true), ["r1 2>0"]);
    assert!(world.step_with(|_| true).is_empty());
    assert!(
        world.step().is_empty(),
        "the old set still tells of pods that are not in the cache yet"
    );
    world.settle();
    assert_eq!(world.step(), ["create 2"]);
}

#[test]
fn scales_in_proportion_while_rolling() {
    let mut world = World::new(deployment(10, "a", rolling(json!(3), json!(2))));
    world.step();
    world.settle();
    world.set_image("b");
    world.step();
    world.step();
    assert_eq!(world.sizes(), [8, 3]);
    world.deployment.spec.as_mut().unwrap().replicas = Some(15);
    world.step();
    assert_eq!(
        world.sizes().iter().sum::<i32>(),
        18,
        "wanted and surge: {:?}",
        world.sizes()
    );
    assert_eq!(world.sizes(), [14, 4], "the larger one takes the rest");
    assert!(world.step().is_empty() || world.sizes().iter().sum::<i32>() <= 18);
    world.deployment.spec.as_mut().unwrap().replicas = Some(0);
    world.step();
    assert_eq!(world.sizes(), [0, 0]);
}

#[test]
fn paused_scales_but_does_not_roll() {
    let mut world = World::new(deployment(3, "a", rolling(json!(1), json!(0))));
    world.step();
    world.settle();
    world.deployment.spec.as_mut().unwrap().paused = Some(true);
    world.set_image("b");
    assert!(world.step().is_empty());
    world.deployment.spec.as_mut().unwrap().replicas = Some(5);
    assert_eq!(world.step(), ["r1 3>5"]);
    world.observe();
    let conditions = world.deployment.status.clone().unwrap().conditions.unwrap();
    assert!(
        conditions
            .iter()
            .any(|condition| condition.reason.as_deref() == Some("DeploymentPaused"))
    );
}

#[test]
fn history_beyond_the_limit_goes_when_the_rollout_is_complete() {
    let mut world = World::new(deployment(1, "a", rolling(json!(1), json!(1))));
    for image in ["a", "b", "c"] {
        world.set_image(image);
        for _ in 0..6 {
            world.step();
            world.settle();
        }
    }
    let revisions: Vec<_> = world
        .sets
        .iter()
        .map(|set| revision::number(&set.metadata))
        .collect();
    assert_eq!(revisions, [2, 3]);
}

#[test]
fn conditions_tell_of_progress_and_its_end() {
    let mut world = World::new(deployment(2, "a", rolling(json!(1), json!(0))));
    world
        .deployment
        .spec
        .as_mut()
        .unwrap()
        .progress_deadline_seconds = Some(60);
    world.step();
    let at = |seconds| Time(Timestamp::from_second(seconds).unwrap());
    let reason = |world: &World| {
        let status = world.deployment.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        conditions
            .into_iter()
            .find(|condition| condition.type_ == "Progressing")
            .unwrap()
            .reason
            .unwrap()
    };
    let see = |world: &mut World, outcome: Outcome, seconds| {
        let new = world.sets[0].clone();
        let next = status::next(
            &world.deployment,
            &world.sets,
            Some(&new),
            &outcome,
            &at(seconds),
        );
        world.deployment.status = Some(next.status);
        next.again
    };
    let again = see(
        &mut world,
        Outcome::Created {
            name: "web-x".into(),
        },
        10,
    );
    assert_eq!(reason(&world), "NewReplicaSetCreated");
    assert_eq!(again.unwrap().as_secs(), 61);
    see(&mut world, Outcome::Nothing, 71);
    assert_eq!(reason(&world), "ProgressDeadlineExceeded");
    let set = Arc::make_mut(&mut world.sets[0]);
    set.status = Some(
        serde_json::from_value(json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 1}))
            .unwrap(),
    );
    see(&mut world, Outcome::Nothing, 80);
    assert_eq!(reason(&world), "ReplicaSetUpdated");
    Arc::make_mut(&mut world.sets[0])
        .status
        .as_mut()
        .unwrap()
        .available_replicas = Some(2);
    assert!(see(&mut world, Outcome::Nothing, 90).is_none());
    assert_eq!(reason(&world), "NewReplicaSetAvailable");
    assert!(rollout::max_surge(&world.deployment) == 1);
}

#[test]
fn the_hash_is_stable_and_collisions_change_it() {
    let deployment = deployment(1, "a", Value::Null);
    let template = &deployment.spec.as_ref().unwrap().template;
    assert_eq!(
        revision::hash(template, None),
        revision::hash(&template.clone(), None)
    );
    assert_ne!(
        revision::hash(template, None),
        revision::hash(template, Some(1))
    );
    let mut labelled = template.clone();
    let labels = labelled.metadata.as_mut().unwrap().labels.as_mut().unwrap();
    labels.insert(revision::HASH_LABEL.into(), "x".into());
    assert_eq!(
        revision::hash(template, None),
        revision::hash(&labelled, None)
    );
}

#[test]
fn goes_back_when_the_annotation_asks() {
    let mut world = World::new(deployment(1, "a", rolling(json!(1), json!(0))));
    for image in ["a", "b"] {
        world.set_image(image);
        for _ in 0..4 {
            world.step();
            world.settle();
        }
    }
    let annotations = world.deployment.metadata.annotations.as_mut().unwrap();
    annotations.insert(revision::ROLLBACK.into(), "0".into());
    assert_eq!(world.step(), ["DeploymentRollback"]);
    assert_eq!(
        world.step(),
        ["r1 0>1"],
        "the first template is the present one again"
    );
    assert_eq!(revision::number(&world.sets[0].metadata), 3);
}

#[test]
fn annotations_of_the_new_set() {
    let deployment = deployment(1, "a", Value::Null);
    let long: Vec<String> = (1..=520).map(|at| format!("{at:03}")).collect();
    // 500 entries of three digits with their commas are 1,999 characters.
    let full = long[..500].join(",");
    let cases = [
        (json!({}), true, "7", None),
        (
            json!({revision::REVISION: "3"}),
            true,
            "7",
            Some("3".to_owned()),
        ),
        (json!({revision::REVISION: "9"}), true, "9", None),
        (json!({revision::REVISION: "mine"}), true, "mine", None),
        (
            json!({revision::REVISION: "3", revision::HISTORY: "1,2"}),
            true,
            "7",
            Some("1,2,3".to_owned()),
        ),
        (
            json!({revision::REVISION: "3", revision::HISTORY: long[..499].join(",")}),
            true,
            "7",
            Some(long[..499].join(",") + ",3"),
        ),
        (
            json!({revision::REVISION: "3", revision::HISTORY: format!("{},12", long[..498].join(","))}),
            true,
            "7",
            Some(format!("{},12,3", long[..498].join(","))),
        ),
        (
            json!({revision::REVISION: "3", revision::HISTORY: format!("{},4567", long[..498].join(","))}),
            true,
            "7",
            Some(format!("{},4567,3", long[..498].join(","))),
        ),
        (
            json!({revision::REVISION: "3", revision::HISTORY: full}),
            true,
            "7",
            Some(long[1..500].join(",") + ",3"),
        ),
    ];
    for (annotations, exists, revision, history) in cases {
        let mut annotations = serde_json::from_value(annotations).unwrap();
        revision::annotate(&mut annotations, &deployment, 7, exists);
        assert_eq!(annotations[revision::REVISION], revision);
        assert_eq!(annotations.get(revision::HISTORY), history.as_ref());
        assert_eq!(annotations["team"], "a");
    }
}

/// A ReplicaSet of this size, made for a Deployment of so many, surge included.
fn sized(name: &str, image: &str, size: i32, of: (&str, &str), created: i64) -> Arc<ReplicaSet> {
    let set = json!({
        "metadata": {"name": name, "uid": name, "annotations": {revision::DESIRED: of.0, revision::MAXIMUM: of.1},
            "creationTimestamp": api::clock::rfc3339(Timestamp::from_second(created).unwrap())},
        "spec": {"replicas": size, "selector": {},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
    });
    Arc::new(serde_json::from_value(set).unwrap())
}

#[test]
fn shares_when_scaling_with_several_active() {
    let of = ("10", "13");
    type Set = (i32, (&'static str, &'static str));
    let cases: [(&str, i32, [Set; 3], [i32; 3]); 8] = [
        ("up", 15, [(8, of), (3, of), (2, of)], [11, 4, 3]),
        ("down", 5, [(8, of), (3, of), (2, of)], [5, 2, 1]),
        (
            "equal ones: the newest gains the rest",
            11,
            [(4, of), (4, of), (4, of)],
            [4, 4, 6],
        ),
        ("to nothing", 0, [(8, of), (3, of), (2, of)], [0, 0, 0]),
        ("only one active", 7, [(0, of), (9, of), (0, of)], [0, 7, 0]),
        (
            "none active: the new one",
            4,
            [(0, of), (0, of), (0, of)],
            [0, 0, 4],
        ),
        (
            "an annotation below zero counts as none",
            20,
            [(6, ("-3", "-9")), (6, of), (0, of)],
            [12, 11, 0],
        ),
        (
            "neither annotation",
            20,
            [(6, ("", "")), (6, ("", "")), (0, of)],
            [11, 12, 0],
        ),
    ];
    for (name, replicas, sizes, expected) in cases {
        let mut deployment = deployment(replicas, "c", rolling(json!(3), json!(2)));
        let spec = deployment.spec.as_mut().unwrap();
        (spec.paused, spec.revision_history_limit) = (Some(true), None);
        deployment.status = serde_json::from_value(json!({"replicas": 12})).unwrap();
        let sets: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .zip(sizes)
            .enumerate()
            .map(|(at, (image, (size, of)))| sized(image, image, size, of, at as i64))
            .collect();
        let mut world = World::new(deployment);
        world.sets = sets;
        world.step();
        assert_eq!(world.sizes(), expected, "{name}");
    }
}

#[test]
fn what_came_of_a_creation_is_in_the_conditions() {
    let now = Time(Timestamp::from_second(50).unwrap());
    let failed = Outcome::Failed {
        name: "web-x".into(),
        message: "exceeded quota".into(),
    };
    let cases = [
        (
            failed,
            Some((
                "False",
                "ReplicaSetCreateError",
                "Failed to create new replica set \"web-x\": exceeded quota",
            )),
        ),
        (Outcome::NamespaceGoing, None),
        (Outcome::Collision, None),
        (
            Outcome::Created {
                name: "web-x".into(),
            },
            Some((
                "True",
                "NewReplicaSetCreated",
                "Created new replica set \"web-x\"",
            )),
        ),
    ];
    for (outcome, expected) in cases {
        let deployment = deployment(2, "a", Value::Null);
        let next = status::next(&deployment, &[], None, &outcome, &now);
        let conditions = next.status.conditions.unwrap();
        let progressing = conditions.iter().find(|one| one.type_ == "Progressing");
        let told = progressing.map(|one| {
            let text = |text: &Option<String>| text.clone().unwrap();
            (one.status.clone(), text(&one.reason), text(&one.message))
        });
        let told = told
            .as_ref()
            .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()));
        assert_eq!(told, expected, "{outcome:?}");
        let collisions = next.status.collision_count;
        assert_eq!(collisions, (outcome == Outcome::Collision).then_some(1));
    }
}
