//! Deployments, Jobs, DaemonSets and the objects around them, applied as users apply them.

use corten_tests::{cluster, eventually};

const APPLICATION: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {greeting: hello, file.txt: from the config map}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: shop}
stringData: {token: s3cret}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: corten.local/tools
        args: [echo]
        env:
        - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
        volumeMounts:
        - {name: settings, mountPath: /settings}
        - {name: scratch, mountPath: /scratch}
      volumes:
      - {name: settings, configMap: {name: settings}}
      - {name: scratch, emptyDir: {}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: shop}
spec:
  completions: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: corten.local/tools, args: [printf, done]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers: [{name: agent, image: corten.local/tools, args: [sleep]}]
";

#[test]
fn a_file_of_many_documents_becomes_a_working_application() {
    let cluster = cluster!();
    let applied = cluster.apply(APPLICATION);
    assert_eq!(applied.lines().count(), 8, "{applied}");
    cluster.kubectl(&[
        "-n",
        "shop",
        "rollout",
        "status",
        "deployment/web",
        "--timeout=120s",
    ]);
    cluster.kubectl(&[
        "-n",
        "shop",
        "rollout",
        "status",
        "daemonset/agent",
        "--timeout=120s",
    ]);
    cluster.kubectl(&[
        "-n",
        "shop",
        "wait",
        "--for=condition=Complete",
        "job/once",
        "--timeout=120s",
    ]);

    let pod = cluster.jsonpath(
        &["pods", "-n", "shop", "-l", "app=web"],
        "{.items[0].metadata.name}",
    );
    let env = cluster.kubectl(&["-n", "shop", "exec", &pod, "--", "/corten", "tools", "env"]);
    assert!(
        env.contains("TOKEN=s3cret") && env.contains(&format!("POD={pod}")),
        "{env}"
    );
    let file = cluster.kubectl(&[
        "-n",
        "shop",
        "exec",
        &pod,
        "--",
        "/corten",
        "tools",
        "cat",
        "/settings/file.txt",
    ]);
    assert_eq!(file, "from the config map");
    assert_eq!(
        cluster
            .kubectl(&["-n", "shop", "logs", "job/once"])
            .trim_end(),
        "done"
    );

    let again = cluster.apply(APPLICATION);
    let unchanged = again.lines().filter(|l| l.ends_with("unchanged")).count();
    assert!(
        unchanged >= 7,
        "applying twice changes nothing (a Secret's stringData is rewritten): {again}"
    );
}

#[test]
fn a_deployment_rolls_forward_and_back_and_scales() {
    let cluster = cluster!();
    cluster.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image=corten.local/tools",
        "--replicas=3",
        "--",
        "/corten",
        "tools",
        "sleep",
    ]);
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    cluster.kubectl(&["set", "env", "deployment/web", "VERSION=2"]);
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    let history = cluster.kubectl(&["rollout", "history", "deployment/web"]);
    assert_eq!(
        history
            .lines()
            .filter(|l| l.starts_with(['1', '2']))
            .count(),
        2,
        "{history}"
    );
    cluster.kubectl(&["rollout", "undo", "deployment/web"]);
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    assert_eq!(
        cluster.jsonpath(
            &["deployment", "web"],
            "{.spec.template.spec.containers[0].env}"
        ),
        ""
    );
    cluster.kubectl(&["scale", "deployment/web", "--replicas=5"]);
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=5",
        "deployment/web",
        "--timeout=120s",
    ]);

    let victim = cluster.jsonpath(&["pods", "-l", "app=web"], "{.items[0].metadata.name}");
    cluster.kubectl(&["delete", "pod", &victim, "--grace-period=1"]);
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=5",
        "deployment/web",
        "--timeout=120s",
    ]);
    assert!(!cluster.kubectl(&["get", "pods"]).contains(&victim));

    cluster.kubectl(&["delete", "deployment", "web"]);
    eventually("the pods go with their Deployment", || {
        let left = cluster.kubectl(&["get", "pods", "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn deleting_with_orphan_leaves_and_with_foreground_waits() {
    let cluster = cluster!();
    for name in ["kept", "taken"] {
        cluster.kubectl(&[
            "create",
            "deployment",
            name,
            "--image=corten.local/tools",
            "--",
            "/corten",
            "tools",
            "sleep",
        ]);
        cluster.kubectl(&[
            "rollout",
            "status",
            &format!("deployment/{name}"),
            "--timeout=120s",
        ]);
    }
    cluster.kubectl(&["delete", "deployment", "kept", "--cascade=orphan"]);
    let owners = cluster.jsonpath(
        &["replicasets", "-l", "app=kept"],
        "{.items[*].metadata.ownerReferences}",
    );
    assert_eq!(owners, "");
    cluster.kubectl(&["delete", "deployment", "taken", "--cascade=foreground"]);
    assert_eq!(
        cluster.kubectl(&["get", "replicasets", "-l", "app=taken", "-o", "name"]),
        ""
    );
    assert_ne!(
        cluster.kubectl(&["get", "replicasets", "-l", "app=kept", "-o", "name"]),
        ""
    );
}

#[test]
fn a_namespace_takes_everything_with_it() {
    let cluster = cluster!();
    cluster.apply(APPLICATION);
    cluster.kubectl(&["delete", "namespace", "shop", "--timeout=120s"]);
    assert!(!cluster.kubectl(&["get", "pods", "-A"]).contains("shop"));
}

#[test]
fn a_quota_says_what_is_used() {
    let cluster = cluster!();
    cluster.kubectl(&["create", "namespace", "small"]);
    cluster.kubectl(&["create", "quota", "q", "-n", "small", "--hard=configmaps=3"]);
    let used = |wanted: &str| {
        eventually(&format!("{wanted} config maps used"), || {
            let path = "jsonpath={.status.used.configmaps}";
            let used = cluster.kubectl(&["get", "quota", "q", "-n", "small", "-o", path]);
            (used == wanted).then_some(()).ok_or(used)
        });
    };
    // The one with the cluster's certificate authority is in every namespace.
    used("1");
    cluster.kubectl(&["create", "configmap", "a", "-n", "small"]);
    used("2");
    cluster.kubectl(&["delete", "configmap", "a", "-n", "small"]);
    used("1");
}
