//! An autoscaler's conditions: each once, with the time it last turned.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) struct Conditions {
    list: Vec<HorizontalPodAutoscalerCondition>,
    now: Time,
}

impl Conditions {
    pub fn new(status: &HorizontalPodAutoscalerStatus, now: Time) -> Self {
        Self {
            list: status.conditions.clone().unwrap_or_default(),
            now,
        }
    }

    pub fn set(&mut self, type_: &str, status: bool, reason: &str, message: impl Into<String>) {
        let status = if status { "True" } else { "False" };
        let at = match self.list.iter().position(|one| one.type_ == type_) {
            Some(at) => at,
            None => {
                self.list.push(HorizontalPodAutoscalerCondition {
                    type_: type_.to_owned(),
                    ..HorizontalPodAutoscalerCondition::default()
                });
                self.list.len() - 1
            }
        };
        let condition = &mut self.list[at];
        if condition.status != status {
            condition.last_transition_time = Some(self.now.clone());
            status.clone_into(&mut condition.status);
        }
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.into());
    }

    pub fn into_list(self) -> Option<Vec<HorizontalPodAutoscalerCondition>> {
        Some(self.list).filter(|list| !list.is_empty())
    }
}
