//! The commands, one file each.

mod api_resources;
mod apply;
mod auth;
mod change;
mod cluster_info;
mod create;
mod delete;
mod describe;
mod drain;
mod events;
mod exec;
mod expose;
mod generate;
mod get;
mod logs;
mod mark;
mod nodes;
mod patch;
mod port_forward;
mod replace;
mod rollout;
mod run;
mod scale;
mod set;
mod version;
mod wait;

use std::time::Duration;

use crate::{
    error::{Error, Result, usage},
    flags::{Command, Kubectl},
    session::Session,
};

/// Runs a command and answers its exit code.
pub async fn run(kubectl: Kubectl) -> Result<u8> {
    let session = Session::open(&kubectl.connection).await?;
    match kubectl.command {
        Command::Get(flags) => get::run(&session, &flags).await,
        Command::Describe(flags) => describe::run(&session, &flags).await,
        Command::Apply(flags) => apply::run(&session, &flags).await,
        Command::Create(flags) => create::run(&session, &flags).await,
        Command::Delete(flags) => delete::run(&session, &flags).await,
        Command::Logs(flags) => logs::run(&session, &flags).await,
        Command::Exec(flags) => exec::run(&session, &flags).await,
        Command::Scale(flags) => scale::run(&session, &flags).await,
        Command::Rollout(flags) => rollout::run(&session, &flags).await,
        Command::Wait(flags) => wait::run(&session, &flags).await,
        Command::Label(flags) => mark::run(&session, &flags, "labels", "labeled").await,
        Command::Annotate(flags) => mark::run(&session, &flags, "annotations", "annotated").await,
        Command::ApiResources(flags) => api_resources::run(&session, &flags).await,
        Command::Version => version::run(&session).await,
        Command::ApiVersions => cluster_info::versions(&session).await,
        Command::Patch(flags) => patch::run(&session, &flags).await,
        Command::Replace(flags) => replace::run(&session, &flags).await,
        Command::Set(command) => set::run(&session, &command).await,
        Command::Expose(flags) => expose::run(&session, &flags).await,
        Command::Run(flags) => run::run(&session, &flags).await,
        Command::Autoscale(flags) => expose::autoscale(&session, &flags).await,
        Command::Attach(flags) => exec::attach(&session, &flags).await,
        Command::Cordon(flags) => nodes::cordon(&session, &flags, true).await,
        Command::Uncordon(flags) => nodes::cordon(&session, &flags, false).await,
        Command::Drain(flags) => drain::run(&session, &flags).await,
        Command::Taint(flags) => nodes::taint(&session, &flags).await,
        Command::Auth(command) => auth::run(&session, &command).await,
        Command::Events(flags) => events::run(&session, &flags).await,
        Command::ClusterInfo => cluster_info::run(&session).await,
        Command::PortForward(flags) => port_forward::run(&session, &flags).await,
    }
}

/// Prints errors that did not keep the rest from being done; answers the exit code.
fn report(errors: &[Error]) -> u8 {
    for error in errors {
        eprintln!("{error}");
    }
    u8::from(!errors.is_empty())
}

/// `30s`, `5m`, `1h30m`, or seconds.
pub fn duration(text: &str) -> Result<Duration> {
    let wrong = || {
        usage(format!(
            "invalid duration \"{text}\": use for example 30s, 5m or 1h"
        ))
    };
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_alphabetic()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * scale;
        rest = after;
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_as_kubectl_reads_them() {
        for (text, want) in [
            ("30s", 30.0),
            ("1h30m", 5400.0),
            ("1.5s", 1.5),
            ("10", 10.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), want, "{text}");
        }
        for text in ["s", "5x", "-5s", "5m3"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
