//! Jobs and CronJobs.

pub mod cron_job;
mod defaults;
pub mod job;
mod rules;
mod status;
