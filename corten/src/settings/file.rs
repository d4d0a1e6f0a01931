//! The configuration file: YAML with the flags' names as keys. Its values become the defaults of the
//! clap arguments, so that every flag is a key without being listed twice.

use std::{ffi::OsString, fs, path::PathBuf};

use clap::Command;
use serde_json::Value;

/// Finds `--config` for the subcommand that has it and turns the file's keys into defaults.
pub fn apply(command: Command, arguments: &[OsString]) -> Result<Command, String> {
    let Some(path) = config_path(arguments) else {
        return Ok(command);
    };
    let text = fs::read_to_string(&path)
        .map_err(|e| format!("configuration file {}: {e}", path.display()))?;
    apply_text(command, &text).map_err(|e| format!("configuration file {}: {e}", path.display()))
}

/// As [`apply`], for a text.
pub fn apply_text(command: Command, text: &str) -> Result<Command, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let Value::Object(keys) = value else {
        return if value.is_null() {
            Ok(command)
        } else {
            Err("should be a map of flag names to values".into())
        };
    };
    let mut defaults = Vec::new();
    {
        let server = command
            .find_subcommand("server")
            .ok_or("there is no server command")?;
        for (key, value) in keys {
            let known = server
                .get_arguments()
                .chain(command.get_arguments())
                .find(|a| a.get_long() == Some(&key));
            let argument = known.filter(|_| key != "config").ok_or_else(|| {
                format!("no such key: {key} (keys are the flags that `corten server --help` lists)")
            })?;
            defaults.push((argument.get_id().clone(), values(&key, value)?));
        }
    }
    Ok(command.mut_subcommand("server", |server| {
        defaults.into_iter().fold(server, |server, (id, values)| {
            if server.get_arguments().any(|a| *a.get_id() == id) {
                server.mut_arg(id, |argument| argument.default_values(values))
            } else {
                server
            }
        })
    }))
}

fn values(key: &str, value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items
            .into_iter()
            .map(|v| values(key, v))
            .collect::<Result<Vec<_>, _>>()
            .map(|v| v.concat()),
        Value::String(text) => Ok(vec![text]),
        Value::Number(_) | Value::Bool(_) => Ok(vec![value.to_string()]),
        Value::Null | Value::Object(_) => Err(format!(
            "{key}: should be a text, a number, a truth value or a list of them"
        )),
    }
}

fn config_path(arguments: &[OsString]) -> Option<PathBuf> {
    let mut given = arguments.iter().skip_while(|a| *a != "server");
    while let Some(argument) = given.next() {
        if argument == "--config" {
            return given.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|a| a.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    std::env::var_os("CORTEN_CONFIG").map(PathBuf::from)
}
