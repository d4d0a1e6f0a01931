//! MutatingAdmissionPolicy: policies in force change the object, one after another: by what an expression
//! wants applied (merged as server-side apply merges, owned by nobody), or by a JSON patch.

use api::status::{Cause, Status};
use cel::{Activation, Budget};
use schema::managed::{Manager, Operation};
use schema::patch::PatchError;
use serde_json::Value;

use super::validating::bind_variables;
use super::{Family, Invocation, Mutation, Policies, invocations, refusal};
use crate::admission::attributes::{Typed, convert};
use crate::admission::expression::{Expression, Seen, Verdict, namespace_object};
use crate::admission::{Admission, Round};

impl Policies {
    /// Lets the policies change the object. Says whether one did.
    pub async fn mutate(
        &self,
        admission: &Admission<'_>,
        object: &mut Option<Value>,
        old: Option<&Value>,
        round: &mut Round,
    ) -> Result<bool, Status> {
        let candidates = self.kept(Family::Mutating).candidates(admission);
        if candidates.is_empty() {
            return Ok(false);
        }
        let (found, wrong) = invocations(&candidates, admission, object.as_ref(), old).await;
        let mut failures: Vec<(String, bool)> = wrong
            .into_iter()
            .filter(|wrong| !wrong.policy.ignore_failures)
            .map(|wrong| {
                let (policy, why) = (&wrong.policy.name, &wrong.why);
                let message = match &wrong.binding {
                    Some(binding) => format!(
                        "policy '{policy}' with binding '{}' denied request: {why}",
                        binding.name
                    ),
                    None => format!("policy {policy:?} denied request: {why}"),
                };
                (message, false)
            })
            .collect();
        let mut dirty = false;
        if !found.is_empty() {
            if round.second {
                round.policies.compare(object.as_ref());
            }
            let namespace = namespace_object(admission)?;
            for invocation in &found {
                let outcome = invoke(
                    invocation,
                    admission,
                    object,
                    old,
                    namespace.as_ref(),
                    round,
                )
                .await?;
                match outcome {
                    Ok(changed) => dirty |= changed,
                    Err(_) if invocation.policy.ignore_failures => {}
                    Err(why) => failures.push((
                        format!(
                            "policy '{}' with binding '{}' denied request: {why}",
                            invocation.policy.name, invocation.binding.name
                        ),
                        true,
                    )),
                }
            }
            if !round.second {
                round.policies.leave(object.as_ref());
            }
        }
        let Some((first, evaluated)) = failures.first() else {
            return Ok(dirty);
        };
        let mut status = refusal(admission, object.as_ref(), "");
        status.message.clone_from(first);
        if *evaluated {
            status.reason = "Invalid".into();
        }
        let causes = failures.iter().map(|(message, _)| Cause {
            message: message.clone(),
            ..Cause::default()
        });
        let details = status.details.get_or_insert_default();
        details.causes = causes.collect();
        Err(status)
    }
}

/// Runs one invocation. The inner outcome says whether the object changed, or why the policy failed.
async fn invoke(
    invocation: &Invocation,
    admission: &Admission<'_>,
    object: &mut Option<Value>,
    old: Option<&Value>,
    namespace: Option<&Value>,
    round: &mut Round,
) -> Result<Result<bool, String>, Status> {
    let Invocation {
        policy,
        endpoint,
        param,
        ..
    } = invocation;
    let id = invocation.id();
    let mut changed = false;
    let mut outcome = Ok(());
    for (index, mutation) in policy.mutations.iter().enumerate() {
        let current = object.clone();
        let seen = Seen::new(admission, endpoint, current.as_ref(), old).await?;
        let mut activation = seen.activation(param.as_ref(), namespace);
        bind_variables(policy, &mut activation);
        if index == 0 {
            match policy.conditions.decide(&activation) {
                Verdict::Matches => {}
                Verdict::Excluded => return Ok(Ok(false)),
                Verdict::Failed(why) => return Ok(Err(why)),
            }
            // Who was not asked in the first round is not asked in the second.
            if round.second && !round.policies.wanted(&id) {
                return Ok(Ok(false));
            }
        }
        let Some(shown) = seen.object() else { continue };
        let typed = Typed::of(endpoint, admission.subresource).ok_or_else(|| {
            Status::service_unavailable(format!(
                "Resource kind {} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.",
                admission.kind().kind
            ))
        })?;
        match patched(mutation, &activation, shown, &typed) {
            Ok(new) if new != *shown => {
                let own = &admission.call.endpoint;
                let new = convert(endpoint, own, admission.subresource, &new).await?;
                *object = Some(new.into_owned());
                changed = true;
            }
            Ok(_) => {}
            Err(why) => outcome = Err(why),
        }
    }
    if changed {
        round.policies.require();
        round.again = true;
    }
    if policy.again_if_needed {
        round.policies.asked(&id);
    }
    Ok(outcome.map(|()| changed))
}

/// The object as the mutation wants it.
fn patched<'s>(
    mutation: &'s Mutation,
    activation: &Activation<'s>,
    object: &Value,
    typed: &Typed<'_>,
) -> Result<Value, String> {
    match mutation {
        Mutation::Apply(expression) => {
            let configuration = value_of(expression, activation)?;
            apply(typed, object, configuration)
        }
        Mutation::Patch(expression) => {
            let operations = value_of(expression, activation)?;
            let patch = serde_json::to_vec(&operations).map_err(|e| e.to_string())?;
            match schema::patch::json(object, &patch) {
                Ok(new) => strict(typed, new),
                // The rest of the patch is for objects that pass the test.
                Err(PatchError::TestFailed(_)) => Ok(object.clone()),
                Err(error) => Err(format!("JSON Patch: {error}")),
            }
        }
    }
}

fn value_of<'s>(expression: &'s Expression, activation: &Activation<'s>) -> Result<Value, String> {
    if let Some(why) = expression.error() {
        return Err(why.to_owned());
    }
    let mut budget = Budget::default();
    let value = expression
        .evaluate(activation, &mut budget)
        .map_err(|out| out.to_string())??;
    named_after_place(&value, "Object").map_err(|why| format!("type mismatch: {why}"))?;
    value.to_json()
}

/// An object that an expression makes is of the type named after its place: `Object.spec` is what is
/// at `spec`.
fn named_after_place(value: &cel::Value<'_>, place: &str) -> Result<(), String> {
    let cel::Value::Struct(made) = value else {
        return Ok(());
    };
    if *made.name == *"JSONPatch" {
        return Ok(());
    }
    if *made.name != *place {
        return Err(format!(
            "unexpected type name {:?}, expected {place:?}, which matches field name path from root Object type",
            made.name
        ));
    }
    made.fields
        .iter()
        .try_for_each(|(field, value)| named_after_place(value, &format!("{place}.{field}")))
}

/// Merges a configuration as server-side apply does, whoever owns what.
pub(super) fn apply(
    typed: &Typed<'_>,
    object: &Value,
    mut configuration: Value,
) -> Result<Value, String> {
    use api::object::Object;
    for field in ["apiVersion", "kind"] {
        configuration.restore(field, object);
    }
    let decoded = schema::decode::value(typed.table, typed.ty, configuration).map_err(|e| {
        format!("error applying patch: failed to convert patch object to typed object: {e}")
    })?;
    if let Some(first) = decoded.strict.first() {
        return Err(format!(
            "error applying patch: failed to convert patch object to typed object: {first}"
        ));
    }
    let configuration = decoded.value;
    let atomics = schema::managed::atomics(typed.table, typed.ty, &configuration);
    if !atomics.is_empty() {
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    let mut unowned = object.clone();
    unowned.remove("metadata.managedFields");
    let manager = Manager {
        name: "admission".to_owned(),
        operation: Operation::Apply,
        api_version: object.text("apiVersion").to_owned(),
        subresource: String::new(),
        time: String::new(),
    };
    let mut new = schema::managed::apply(
        typed.table,
        typed.ty,
        Some(&unowned),
        &configuration,
        &manager,
        true,
    )
    .map_err(|e| format!("error applying patch: {e}"))?;
    new.remove("metadata.managedFields");
    new.restore("metadata.managedFields", object);
    typed.complete(new)
}

/// A patched object, which must not have fields its type does not know.
fn strict(typed: &Typed<'_>, object: Value) -> Result<Value, String> {
    let decoded =
        schema::decode::value(typed.table, typed.ty, object).map_err(|e| e.to_string())?;
    if !decoded.strict.is_empty() {
        return Err(format!(
            "strict decoding error: {}",
            decoded.strict.join(", ")
        ));
    }
    let mut object = decoded.value;
    typed.default(&mut object);
    Ok(object)
}
