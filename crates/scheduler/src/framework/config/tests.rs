//! What the file says is what the profile does.

use super::*;

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
        (
            "extenders: [{urlPrefix: http://x, prioritizeVerb: p}]",
            "extenders[0].weight",
        ),
    ];
    for (text, want) in cases {
        let error = read(text).err().unwrap_or_default();
        assert!(error.contains(want), "{text}: {error}");
    }
    assert!(parse("apiVersion: v1\nkind: Pod\n").is_err());
}
