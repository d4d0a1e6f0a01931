//! Why a pod could not be placed: counts per reason and per plugin, and upstream's sentence.

use std::{borrow::Cow, collections::BTreeMap};

use super::Rejection;

/// What a failed cycle found out.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub total: usize,
    /// Nodes per reason.
    pub reasons: BTreeMap<Cow<'static, str>, usize>,
    /// Nodes per plugin that rejected them.
    pub plugins: BTreeMap<&'static str, usize>,
    /// How many nodes evicting pods could help on.
    pub preemptable: usize,
    /// Said instead of counts when a plugin rejected the pod for every node at once.
    pub whole: Option<String>,
    /// What there was to say of claims for devices.
    pub devices: Option<&'static str>,
    /// What preemption found.
    pub preemption: Option<String>,
}

impl Diagnosis {
    /// Notes that `plugin` rejected a node.
    pub fn reject(&mut self, plugin: &'static str, rejection: &Rejection) {
        *self.plugins.entry(plugin).or_default() += 1;
        self.preemptable += usize::from(rejection.preemption_helps);
        for reason in &rejection.reasons {
            match self.reasons.get_mut(reason) {
                Some(count) => *count += 1,
                None => {
                    self.reasons.insert(reason.clone(), 1);
                }
            }
        }
    }

    /// Takes a rejection back.
    pub fn accept(&mut self, plugin: &'static str, rejection: &Rejection) {
        fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        less(&mut self.plugins, &plugin);
        self.preemptable -= usize::from(rejection.preemption_helps);
        for reason in &rejection.reasons {
            less(&mut self.reasons, reason);
        }
    }

    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector.`
    pub fn message(&self) -> String {
        let mut out = if self.total == 0 {
            "no nodes available to schedule pods".to_string()
        } else {
            format!("0/{} nodes are available", self.total)
        };
        if let Some(whole) = &self.whole {
            out.push_str(": ");
            out.push_str(whole);
        } else if !self.reasons.is_empty() {
            let mut parts: Vec<String> = self
                .reasons
                .iter()
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            parts.sort();
            out.push_str(": ");
            out.push_str(&parts.join(", "));
        }
        if self.total > 0 {
            out.push('.');
        }
        let preemption = self.preemption.as_ref();
        let preemption = preemption.map(|found| format!("preemption: {found}"));
        let after: Vec<String> = self
            .devices
            .map(str::to_owned)
            .into_iter()
            .chain(preemption)
            .collect();
        if !after.is_empty() {
            out.push(' ');
            out.push_str(&after.join(", "));
        }
        out
    }
}
