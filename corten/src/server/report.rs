//! What the user is told: a line for each part as it comes up, and how to use the cluster.

use std::{fmt::Display, path::Path, sync::Mutex, time::Instant};

/// See the module.
pub struct Report {
    since: Instant,
    failure: Mutex<Option<String>>,
}

impl Report {
    /// Times are told from now on.
    pub fn new() -> Report {
        Report {
            since: Instant::now(),
            failure: Mutex::new(None),
        }
    }

    /// A part is up.
    pub fn up(&self, part: &str, detail: impl Display) {
        println!(
            "{:>7} ms  {part:<12} {detail}",
            self.since.elapsed().as_millis()
        );
    }

    /// Something about this machine that the user should know once.
    pub fn note(&self, text: &str) {
        println!("            note         {text}");
    }

    /// A part failed; the server is about to end.
    pub fn failed(&self, part: &str, why: impl Display) {
        let mut failure = match self.failure.lock() {
            Ok(failure) => failure,
            Err(poisoned) => poisoned.into_inner(),
        };
        // The first failure is the cause; what fails while everything ends is not.
        failure.get_or_insert(format!("{part}: {why}"));
    }

    /// The first failure.
    pub fn failure(&self) -> Option<String> {
        match self.failure.lock() {
            Ok(failure) => failure.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// The node is Ready.
    pub fn node_ready(&self, node: &str, data: &Path) {
        self.up("node", format_args!("{node} is Ready"));
        self.usage(data);
    }

    /// The node of another machine's cluster is Ready.
    pub fn joined(&self, node: &str) {
        self.up("node", format_args!("{node} is Ready"));
    }

    /// The API is served, without a node here.
    pub fn serving(&self, data: &Path) {
        self.up("server", "is serving, without a node on this machine");
        self.usage(data);
    }

    fn usage(&self, data: &Path) {
        println!();
        println!(
            "  export KUBECONFIG={}",
            data.join("admin.kubeconfig").display()
        );
        println!("  kubectl get nodes -o wide");
        println!(
            "  kubectl create deployment web --image=corten.local/tools --replicas=3 -- /corten tools echo"
        );
        println!("  kubectl get pods -o wide");
        println!();
    }
}
