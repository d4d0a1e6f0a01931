//! What the file says is what the profile does.

use super::*;
use crate::plugins::node_resources_fit::Strategy;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn read(rest: &str) -> Result<Configuration, String> {
    parse(&format!("{HEAD}{rest}")).map_err(|e| e.to_string())
}

#[test]
fn an_empty_file_is_the_defaults() {
    let configuration = read("").unwrap();
    let profile = &configuration.profiles[0];
    assert_eq!(profile.scheduler_name, "default-scheduler");
    assert_eq!(profile.filters, Profile::default().filters);
    assert_eq!(profile.scorers, Profile::default().scorers);
    assert!(profile.preempts);
}

#[test]
fn plugins_are_turned_off_and_weighed() {
    let configuration = read(
        "profiles:
- schedulerName: a
  plugins:
    multiPoint: {disabled: [{name: DefaultPreemption}]}
    score:
      disabled: [{name: ImageLocality}]
      enabled: [{name: NodeResourcesFit, weight: 7}]
- schedulerName: b
  plugins:
    score: {disabled: [{name: '*'}], enabled: [{name: TaintToleration}]}
    filter: {disabled: [{name: '*'}], enabled: [{name: NodePorts}, {name: NodeResourcesFit}]}
",
    )
    .unwrap();
    let [a, b] = &configuration.profiles[..] else {
        panic!("two profiles")
    };
    assert!(!a.preempts && b.preempts);
    assert_eq!(a.scorers[0], ("NodeResourcesFit".to_owned(), 7));
    assert!(a.scorers.iter().all(|(name, _)| name != "ImageLocality"));
    assert_eq!(a.scorers.len(), 7);
    assert_eq!(b.scorers, [("TaintToleration".to_owned(), 1)]);
    assert_eq!(b.filters, ["NodePorts", "NodeResourcesFit"]);
}

#[test]
fn arguments_reach_their_plugins() {
    let configuration = read(
        "podInitialBackoffSeconds: 2
profiles:
- pluginConfig:
  - name: NodeResourcesFit
    args:
      ignoredResourceGroups: [example.com]
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: cpu, weight: 3}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 5}
  - name: PodTopologySpread
    args: {defaultingType: List, defaultConstraints: []}
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 60}
  - name: DynamicResources
    args: {bindingTimeout: 1m30s}
",
    )
    .unwrap();
    let args = &configuration.profiles[0].args;
    assert_eq!(
        args.fit.strategy,
        Strategy::RequestedToCapacityRatio(vec![(0, 0), (100, 100)])
    );
    assert_eq!(args.fit.resources, [("cpu".into(), 3)]);
    assert!(args.fit.ignored_groups.contains("example.com"));
    assert_eq!(args.inter_pod.hard_weight, 5);
    assert!(args.spread.defaults.is_empty());
    assert_eq!(configuration.patience.volumes, Duration::from_secs(60));
    assert_eq!(configuration.patience.devices, Duration::from_secs(90));
    assert_eq!(configuration.backoff.0, Duration::from_secs(2));
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("podMaxBackoffSeconds: 0", "podMaxBackoffSeconds"),
        (
            "profiles: [{schedulerName: a}, {schedulerName: a}]",
            "profiles[1].schedulerName: Duplicate value: \"a\"",
        ),
        (
            "profiles: [{plugins: {filter: {enabled: [{name: Nope}]}}}]",
            "profiles[0].plugins.filter.enabled: Nope does not exist",
        ),
        (
            "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]",
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight",
        ),
        ("profils: []", "profils"),
        ("parallelism: 0", "parallelism"),
        ("percentageOfNodesToScore: 101", "percentageOfNodesToScore"),
        ("clientConnection: {burst: -1}", "clientConnection.burst"),
        (
            "leaderElection: {leaseDuration: 5s}",
            "leaderElection.leaseDuration",
        ),
        (
            "leaderElection: {resourceLock: endpoints}",
            "leaderElection.resourceLock",
        ),
        (
            "profiles: [{percentageOfNodesToScore: -1}]",
            "profiles[0].percentageOfNodesToScore",
        ),
        (
            "profiles: [{schedulerName: a}, {}]",
            "profiles[1].schedulerName: Required value",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]",
            "profiles[1].plugins.queueSort: must be the same for all profiles",
        ),
        (
            "profiles: [{pluginConfig: [{name: InterPodAffinity}, {name: InterPodAffinity}]}]",
            "profiles[0].pluginConfig[1]: Duplicate value",
        ),
        (
            "extenders: [{urlPrefix: http://x, bindVerb: b}, {urlPrefix: http://y, bindVerb: b}]",
            "extenders: found 2 extenders implementing bind",
        ),
        (
            "extenders: [{urlPrefix: http://x, httpTimeout: five}]",
            "extenders[0].httpTimeout",
        ),
        (
            "extenders: [{urlPrefix: http://x, managedResources: [{name: cpu}]}]",
            "extenders[0].managedResources[0].name",
        ),
        (
            "extenders: [{urlPrefix: http://x, prioritizeVerb: p}]",
            "extenders[0].weight",
        ),
    ];
    for (text, want) in cases {
        let error = read(text).err().unwrap_or_default();
        assert!(error.contains(want), "{text}: {error}");
    }
    let plugins = [
        ("score: {enabled: [{name: NodePorts}]}", "score"),
        (
            "score: {enabled: [{name: ImageLocality, weight: -1}]}",
            "score",
        ),
        (
            "score: {enabled: [{name: ImageLocality}, {name: ImageLocality}]}",
            "score",
        ),
        ("bind: {disabled: [{name: '*'}]}", "bind"),
    ];
    for (text, want) in plugins {
        let error = read(&format!("profiles: [{{plugins: {{{text}}}}}]"));
        let error = error.err().unwrap_or_default();
        let want = format!("profiles[0].plugins.{want}");
        assert!(error.contains(&want), "{text}: {error}");
    }
    let args = [
        ("InterPodAffinity", "{kind: NodeAffinityArgs}", ""),
        ("InterPodAffinity", "{addedAffinity: {}}", ""),
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: 101}",
            ".minCandidateNodesPercentage",
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesAbsolute: -1}",
            ".minCandidateNodesAbsolute",
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}",
            ".minCandidateNodesPercentage",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: k, whenUnsatisfiable: DoNotSchedule}]}",
            ".defaultConstraints[0].maxSkew",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: '', whenUnsatisfiable: DoNotSchedule}]}",
            ".defaultConstraints[0].topologyKey",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: x}]}",
            ".defaultConstraints[0].whenUnsatisfiable",
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: k, whenUnsatisfiable: DoNotSchedule}]}",
            ".defaultConstraints[1]",
        ),
        ("PodTopologySpread", "{defaultConstraints: [{foo: 1}]}", ""),
        (
            "NodeResourcesFit",
            "{ignoredResources: ['a b']}",
            ".ignoredResources[0]",
        ),
        (
            "NodeResourcesFit",
            "{ignoredResourceGroups: [a/b]}",
            ".ignoredResourceGroups[0]",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {}}",
            ".scoringStrategy.type",
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: LeastAllocated, requestedToCapacityRatio: {shape: [{utilization: 1, score: 1}]}}}",
            ".scoringStrategy.requestedToCapacityRatio",
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu, weight: 2}]}",
            ".resources[0].weight",
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu}, {name: cpu}]}",
            ".resources[1].name",
        ),
        ("VolumeBinding", "{shape: []}", ".shape"),
        (
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: In}]}]}}}",
            ".addedAffinity",
        ),
        (
            "DynamicResources",
            "{bindingTimeout: 500ms}",
            ".bindingTimeout",
        ),
        ("DynamicResources", "{filterTimeout: -1s}", ".filterTimeout"),
    ];
    for (plugin, args, want) in args {
        let error = read(&format!(
            "profiles: [{{pluginConfig: [{{name: {plugin}, args: {args}}}]}}]"
        ));
        let error = error.err().unwrap_or_default();
        let want = format!("profiles[0].pluginConfig[0].args{want}");
        assert!(error.contains(&want), "{args}: {error}");
    }
    assert!(parse("apiVersion: v1\nkind: Pod\n").is_err());
}

#[test]
fn what_upstream_takes_is_taken() {
    for text in [
        "profiles: [{pluginConfig: [{name: InterPodAffinity}, {name: Nobody, args: {a: 1}}, {name: ImageLocality, args: {}}]}]",
        "profiles: [{pluginConfig: [{name: InterPodAffinity, args: null}]}]",
        "leaderElection: {leaderElect: false, leaseDuration: 1s}",
        "profiles: [{plugins: {score: {disabled: [{name: Nobody}]}}}]",
    ] {
        if let Err(error) = read(text) {
            panic!("{text}: {error}");
        }
    }
    // A plugin that is named without a weight weighs one, whatever it does by default.
    let read = read("profiles: [{plugins: {multiPoint: {enabled: [{name: TaintToleration}]}}}]");
    let profile = &read.unwrap().profiles[0];
    let weight = profile
        .scorers
        .iter()
        .find(|(name, _)| name == "TaintToleration");
    assert_eq!(weight.unwrap().1, 1);
}
