//! CEL selectors of device classes and requests.
//!
//! A program is compiled once, and what it said of a device is kept with the device's slice: an
//! expression depends on nothing but the device, so that a pod equal to one before it costs no
//! evaluation.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use cel::{Activation, Budget, Environment, Fields, Key, Library, Map, Object, Opaque, Program};
use cel::{Type, Value};
use k8s_openapi::api::resource::v1::{Device, DeviceAttribute};
use parking_lot::Mutex;

use super::slice::quantity;

/// Programs kept, and expressions remembered per slice. Beyond that all are forgotten, and made
/// again as they are asked for.
const KEPT: usize = 256;

/// What one evaluation may cost (`CELSelectorExpressionMaxCost`).
const COST: i64 = 1_000_000;

/// A compiled selector, or why it is none.
#[derive(Debug)]
pub struct Selector {
    id: u64,
    program: Result<Program, String>,
}

/// A selector, and what errors about it begin with.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `class gpu: selector #0`
    pub origin: Box<str>,
    /// The selector.
    pub selector: Arc<Selector>,
}

/// The compiled selectors.
#[derive(Debug, Default)]
pub struct Selectors {
    known: HashMap<Box<str>, Arc<Selector>>,
    next: u64,
}

impl Selectors {
    /// The selector of this text.
    pub fn compile(&mut self, text: &str) -> Arc<Selector> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        self.next += 1;
        let selector = Arc::new(Selector {
            id: self.next,
            program: compile(text),
        });
        self.known.insert(text.into(), selector.clone());
        selector
    }
}

fn compile(text: &str) -> Result<Program, String> {
    static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(environment);
    let program =
        Program::compile(text, &ENVIRONMENT).map_err(|e| format!("compilation failed: {e}"))?;
    match program.output() {
        Type::Bool | Type::Dyn => Ok(program),
        other => Err(format!(
            "must evaluate to bool or the unknown type, not {other}"
        )),
    }
}

fn environment() -> Environment {
    let map = |of: Type| Type::Map((Type::String, of).into());
    let fields = [
        ("driver", Type::String),
        ("allowMultipleAllocations", Type::Bool),
        ("attributes", map(map(Type::Dyn))),
        ("capacity", map(map(Type::Opaque(Opaque::Quantity)))),
    ];
    let device = Type::Object(Object {
        name: "kubernetes.DRADevice".into(),
        fields: Fields::Listed(fields.map(|(name, of)| (name.into(), of)).into()),
    });
    Environment::new()
        .with("device", device)
        .with_library(Library::Bindings)
}

/// What selectors said of a slice's devices.
#[derive(Debug, Default)]
pub struct Verdicts(Mutex<HashMap<u64, Box<[Option<bool>]>>>);

impl Verdicts {
    /// Whether the device in place `index` of `places` is wanted.
    pub fn meets(
        &self,
        wanted: &Wanted,
        index: usize,
        places: usize,
        device: &Device,
        driver: &str,
    ) -> Result<bool, String> {
        let id = wanted.selector.id;
        let known = |all: &HashMap<u64, Box<[Option<bool>]>>| *all.get(&id)?.get(index)?;
        if let Some(known) = known(&self.0.lock()) {
            return Ok(known);
        }
        let program = wanted.selector.program.as_ref();
        let program =
            program.map_err(|why| format!("{}: CEL compile error: {why}", wanted.origin))?;
        let meets = evaluate(program, device, driver)
            .map_err(|why| format!("{}: CEL runtime error: {why}", wanted.origin))?;
        let mut all = self.0.lock();
        if all.len() >= KEPT && !all.contains_key(&id) {
            all.clear();
        }
        let verdicts = all
            .entry(id)
            .or_insert_with(|| vec![None; places].into_boxed_slice());
        if let Some(place) = verdicts.get_mut(index) {
            *place = Some(meets);
        }
        Ok(meets)
    }
}

fn evaluate(program: &Program, device: &Device, driver: &str) -> Result<bool, String> {
    let nothing = || Value::map([]);
    let by_domain = |named: Vec<(&'_ str, Value<'static>)>| {
        let mut domains: BTreeMap<String, BTreeMap<Key<'static>, Value<'static>>> = BTreeMap::new();
        for (name, value) in named {
            let (domain, id) = name.split_once('/').unwrap_or((driver, name));
            let domain = domains.entry(domain.to_owned()).or_default();
            domain.insert(Key::String(id.to_owned().into()), value);
        }
        let domains = domains
            .into_iter()
            .map(|(name, of)| (Key::String(name.into()), Value::Map(Map::owned(of))));
        Value::Map(Map::defaulting(domains.collect(), nothing()))
    };
    let mut attributes = Vec::new();
    for (name, attribute) in device.attributes.iter().flatten() {
        let value = value_of(attribute).map_err(|why| format!("attribute {name}: {why}"))?;
        attributes.push((name.as_str(), value));
    }
    let capacity = device.capacity.iter().flatten();
    let capacity = capacity
        .map(|(name, of)| (name.as_str(), Value::quantity(quantity(&of.value))))
        .collect();
    let many = device.allow_multiple_allocations == Some(true);
    let value = Value::map([
        (Key::from("driver"), Value::string(driver)),
        (Key::from("allowMultipleAllocations"), Value::Bool(many)),
        (Key::from("attributes"), by_domain(attributes)),
        (Key::from("capacity"), by_domain(capacity)),
    ]);
    let mut activation = Activation::new();
    activation.set("device", value);
    let mut budget = Budget::new(COST);
    match program.evaluate(&activation, &mut budget) {
        Ok(Value::Bool(meets)) => Ok(meets),
        Ok(other) => Err(format!(
            "CEL result of type {} could not be converted to bool",
            other.type_name()
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Lists are alpha (DRAListTypeAttributes).
fn value_of(attribute: &DeviceAttribute) -> Result<Value<'static>, String> {
    if let Some(number) = attribute.int {
        Ok(Value::Int(number))
    } else if let Some(truth) = attribute.bool {
        Ok(Value::Bool(truth))
    } else if let Some(text) = &attribute.string {
        Ok(Value::string(text.clone()))
    } else if let Some(version) = &attribute.version {
        Value::semver(version).map_err(|why| format!("parse semantic version: {why}"))
    } else {
        Err("unsupported attribute value".to_owned())
    }
}
