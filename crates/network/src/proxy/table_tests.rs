//! The way between any two contents, played on a model of the kernel that refuses what the kernel
//! refuses.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::netlink::nft::MapsTo;
use crate::netlink::nft::expression::{Expression, Verdict};

#[derive(Debug, Default, PartialEq)]
struct Kernel {
    sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Vec<Rule>>,
    elements: BTreeMap<(SetName, Vec<u8>), Value>,
}

fn chains_of(expression: &Expression) -> Vec<&str> {
    match expression {
        Expression::Verdict(verdict) => verdict.chain().into_iter().collect(),
        _ => Vec::new(),
    }
}

impl Kernel {
    fn chain_in_use(&self, name: &str) -> bool {
        let by_rule = self
            .chains
            .values()
            .flatten()
            .flat_map(|r| &r.expressions)
            .any(|e| chains_of(e).contains(&name));
        by_rule
            || self
                .elements
                .values()
                .any(|v| matches!(v, Value::Verdict(v) if v.chain() == Some(name)))
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::AddSet(set) => assert!(
                self.sets.insert(set.name.clone(), set).is_none(),
                "set exists"
            ),
            Step::AddChain(name) => assert!(
                self.chains.insert(name, Vec::new()).is_none(),
                "chain exists"
            ),
            Step::FlushChain(name) => self
                .chains
                .get_mut(&name)
                .expect("flushed chain exists")
                .clear(),
            Step::AddRule(name, rule) => {
                for expression in &rule.expressions {
                    for chain in chains_of(expression) {
                        assert!(self.chains.contains_key(chain), "rule leads to {chain}");
                    }
                    if let Expression::Member { set, .. } | Expression::Remember { set, .. } =
                        expression
                    {
                        assert!(self.sets.contains_key(set), "rule uses {set}");
                    }
                }
                self.chains.get_mut(&name).expect("chain exists").push(rule);
            }
            Step::DeleteElements(set, keys) => {
                for key in keys {
                    assert!(
                        self.elements.remove(&(set, key)).is_some(),
                        "element exists"
                    );
                }
            }
            Step::AddElements(set, elements) => {
                for (key, value) in elements {
                    if let Value::Verdict(verdict) = &value
                        && let Some(chain) = verdict.chain()
                    {
                        assert!(self.chains.contains_key(chain), "element leads to {chain}");
                    }
                    assert!(
                        self.elements.insert((set, key), value).is_none(),
                        "element is new"
                    );
                }
            }
            Step::DeleteChain(name) => {
                assert!(!self.chain_in_use(&name), "chain {name} is in use");
                assert!(
                    self.chains.remove(&name).expect("chain exists").is_empty(),
                    "chain is empty"
                );
            }
            Step::DeleteSet(name) => {
                let used = self.chains.values().flatten().flat_map(|r| &r.expressions).any(
                    |e| matches!(e, Expression::Member { set, .. } | Expression::Remember { set, .. } if *set == name),
                );
                assert!(!used, "set {name} is in use");
                assert!(self.sets.remove(&name).is_some(), "set exists");
            }
        }
    }
}

/// A contribution with names of its own (of service `n`) and elements that others may claim too.
fn contribution(n: usize) -> impl Strategy<Value = Option<Contribution>> {
    let part = (
        0..4u8,
        any::<bool>(),
        proptest::collection::btree_set(0..6u8, 0..4),
        0..3u8,
    );
    proptest::option::of(part).prop_map(move |part| {
        let (shape, affinity, elements, port) = part?;
        let mut out = Contribution::default();
        let all = format!("all/{n}");
        let mut rules = vec![Rule {
            expressions: vec![Expression::Immediate {
                slot: 0,
                value: vec![shape],
            }],
            comment: String::new(),
        }];
        if affinity {
            let ends: Vec<String> = (0..shape).map(|e| format!("ep/{n}/{e}")).collect();
            for end in &ends {
                let set = format!("aff/{n}/{end}");
                let made = Set {
                    name: set.clone(),
                    key: vec![7],
                    key_length: 4,
                    maps_to: MapsTo::Nothing,
                    timeout: None,
                };
                out.sets.insert(set.clone(), made);
                let expressions = vec![Expression::Remember {
                    set: set.clone(),
                    slot: 0,
                }];
                out.chains.insert(
                    end.clone(),
                    vec![Rule {
                        expressions,
                        comment: String::new(),
                    }],
                );
                let expressions = vec![
                    Expression::Member {
                        set,
                        slot: 0,
                        inverted: false,
                    },
                    Expression::Verdict(Verdict::Goto(end.clone())),
                ];
                rules.push(Rule {
                    expressions,
                    comment: String::new(),
                });
            }
            for (number, end) in ends.into_iter().enumerate() {
                let key = vec![n as u8, shape, number as u8];
                out.elements
                    .insert(("endpoint-chains", key), Value::Verdict(Verdict::Goto(end)));
            }
        }
        out.chains.insert(all.clone(), rules);
        for element in elements {
            out.elements.insert(
                ("services", vec![element, port]),
                Value::Verdict(Verdict::Goto(all.clone())),
            );
        }
        Some(out)
    })
}

fn key(n: usize) -> Key {
    Key {
        namespace: "ns".into(),
        name: format!("s{n}"),
    }
}

/// Rounds of (service, its new contribution); each round is one transaction.
fn rounds() -> impl Strategy<Value = Vec<Vec<(usize, Option<Contribution>)>>> {
    let change = (0..4usize).prop_flat_map(|n| contribution(n).prop_map(move |c| (n, c)));
    proptest::collection::vec(proptest::collection::vec(change, 1..6), 1..8)
}

proptest! {
    #[test]
    fn every_way_leads_to_the_desired_content(rounds in rounds()) {
        let (mut table, mut kernel) = (Table::default(), Kernel::default());
        let mut last: BTreeMap<usize, Option<Contribution>> = BTreeMap::new();
        for round in rounds {
            let mut changes = Changes::default();
            for (n, contribution) in round {
                table.replace(&key(n), contribution.clone(), &mut changes);
                last.insert(n, contribution);
            }
            changes.steps().into_iter().for_each(|step| kernel.play(step));

            let (mut fresh, mut expected) = (Table::default(), Kernel::default());
            for (n, contribution) in &last {
                fresh.replace(&key(*n), contribution.clone(), &mut Changes::default());
            }
            fresh.whole().steps().into_iter().for_each(|step| expected.play(step));
            prop_assert_eq!(&kernel, &expected);
        }
    }
}

#[test]
fn an_unchanged_service_costs_nothing() {
    let mut table = Table::default();
    let mut part = Contribution::default();
    part.chains.insert("all/a".into(), Vec::new());
    table.replace(&key(0), Some(part.clone()), &mut Changes::default());
    let mut changes = Changes::default();
    table.replace(&key(0), Some(part), &mut changes);
    assert_eq!(changes.steps(), []);
}

#[test]
fn a_change_taken_back_within_a_transaction_costs_nothing() {
    let mut table = Table::default();
    let mut part = Contribution::default();
    part.chains.insert("all/a".into(), Vec::new());
    part.elements.insert(
        ("services", vec![1]),
        Value::Verdict(Verdict::Goto("all/a".into())),
    );
    table.replace(&key(0), Some(part.clone()), &mut Changes::default());
    let mut changes = Changes::default();
    table.replace(&key(0), None, &mut changes);
    table.replace(&key(0), Some(part), &mut changes);
    assert_eq!(changes.steps(), []);
}

#[test]
fn a_claimed_element_passes_to_the_next_service() {
    let part = |name: &str| {
        let mut part = Contribution::default();
        part.chains.insert(name.into(), Vec::new());
        part.elements.insert(
            ("services", vec![1]),
            Value::Verdict(Verdict::Goto(name.into())),
        );
        Some(part)
    };
    let (mut table, mut kernel) = (Table::default(), Kernel::default());
    let mut run = |table: &mut Table, n: usize, part: Option<Contribution>| {
        let mut changes = Changes::default();
        table.replace(&key(n), part, &mut changes);
        changes
            .steps()
            .into_iter()
            .for_each(|step| kernel.play(step));
        kernel.elements.values().cloned().collect::<BTreeSet<_>>()
    };
    let leads_to = |name: &str| BTreeSet::from([Value::Verdict(Verdict::Goto(name.to_owned()))]);
    assert_eq!(run(&mut table, 1, part("b")), leads_to("b"));
    assert_eq!(run(&mut table, 0, part("a")), leads_to("a"));
    assert_eq!(run(&mut table, 0, None), leads_to("b"));
    assert_eq!(run(&mut table, 1, None), BTreeSet::new());
}
