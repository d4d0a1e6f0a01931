//! The pods of each variant. Shapes as in upstream's `scheduler_perf`.

use serde_json::{Value, json};

/// The name of the one Deployment.
pub const DEPLOYMENT: &str = "bench";

/// Less important pods on each node before preemption.
pub const FILL: u64 = 10;

/// What is special about the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// Nothing.
    Plain,
    /// Spread over zones, by no more than five.
    ZoneSpread,
    /// Rather not on one node.
    AntiAffinity,
    /// One in ten fits nowhere.
    Unschedulable,
    /// Nodes are full of less important pods.
    Preemption,
    /// A Deployment's; needs controllers.
    Deployment,
    /// Ten Deployments', all given another template at once; needs controllers and kubelets.
    Rollout,
    /// A namespace full of them, deleted; needs controllers and kubelets.
    Removal,
    /// A Deployment's that run and stand for a while, then go; needs controllers and kubelets.
    Standing,
    /// None: what the control plane uses then.
    Idle,
}

impl Variant {
    /// In names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::ZoneSpread => "zone-spread",
            Variant::AntiAffinity => "anti-affinity",
            Variant::Unschedulable => "unschedulable",
            Variant::Preemption => "preemption",
            Variant::Deployment => "deployment",
            Variant::Rollout => "rollout",
            Variant::Removal => "removal",
            Variant::Standing => "standing",
            Variant::Idle => "idle",
        }
    }

    /// Pods per second there should be at least.
    pub fn budget(self) -> f64 {
        if self == Variant::Plain {
            10_000.0
        } else {
            3_000.0
        }
    }

    /// How many of so many pods will be bound.
    pub fn bound(self, pods: u64) -> u64 {
        if self == Variant::Unschedulable {
            pods - pods.div_ceil(10)
        } else {
            pods
        }
    }

    /// Whether the pods can be there before the scheduler starts.
    pub fn ahead(self) -> bool {
        self != Variant::Preemption && self != Variant::Deployment
    }

    /// The `n`-th pod.
    pub fn pod(self, n: u64) -> Value {
        let mut pod = plain(&format!("pod-{n:06}"));
        let spec = &mut pod["spec"];
        match self {
            Variant::Plain
            | Variant::Deployment
            | Variant::Rollout
            | Variant::Removal
            | Variant::Standing
            | Variant::Idle => {}
            Variant::ZoneSpread => {
                spec["topologySpreadConstraints"] = json!([{
                    "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {"matchLabels": {"app": "bench"}},
                }]);
            }
            Variant::AntiAffinity => {
                spec["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                    "weight": 1,
                    "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "bench"}}},
                }]}});
            }
            Variant::Unschedulable if n.is_multiple_of(10) => {
                spec["containers"][0]["resources"]["requests"]["cpu"] = json!("1000");
            }
            Variant::Unschedulable => {}
            Variant::Preemption => {
                spec["priorityClassName"] = json!("bench-high");
                spec["containers"][0]["resources"]["requests"]["cpu"] = json!("3200m");
            }
        }
        pod
    }

    /// The Deployment of so many pods.
    pub fn deployment(pods: u64) -> Value {
        let pod = plain("unused");
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": DEPLOYMENT},
            "spec": {
                "replicas": pods,
                "selector": {"matchLabels": {"app": "bench"}},
                "template": {"metadata": {"labels": {"app": "bench"}}, "spec": pod["spec"]},
            },
        })
    }
}

/// A less important pod; ten of them fill a node of 32 CPUs. They go at once when asked to.
pub fn filler(n: u64) -> Value {
    let mut pod = plain(&format!("low-{n:06}"));
    pod["spec"]["priorityClassName"] = json!("bench-low");
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("3200m");
    pod
}

fn plain(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "image": "registry.example.com/pause:1",
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            }],
        },
    })
}

/// Of the preemption.
pub fn priority_classes() -> [Value; 2] {
    [("bench-low", 10), ("bench-high", 1000)].map(|(name, value)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value,
        })
    })
}
