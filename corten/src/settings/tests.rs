//! Flags, variables and the configuration file are one table.

use clap::{CommandFactory, FromArgMatches};

use super::{Cli, Command, cluster::Part, cluster::ServerSettings, file};

fn server(config: &str, arguments: &[&str]) -> Result<ServerSettings, String> {
    let command = file::apply_text(Cli::command(), config)?;
    let words = ["corten", "server"].iter().chain(arguments);
    let matches = command
        .try_get_matches_from(words)
        .map_err(|e| e.to_string())?;
    match Cli::from_arg_matches(&matches)
        .map_err(|e| e.to_string())?
        .command
    {
        Command::Server(settings) => Ok(*settings),
        other => Err(format!("parsed as {other:?}")),
    }
}

#[test]
fn the_definitions_hold_together() {
    Cli::command().debug_assert();
}

#[test]
fn the_file_gives_defaults_and_flags_beat_it() {
    let file = "data-dir: /srv/c\nhttps-listen-port: 7443\ndisable: [dns, proxy]\n";
    let settings = server(file, &["--https-listen-port", "8443"]).unwrap();
    assert_eq!(settings.data.data_dir.to_str(), Some("/srv/c"));
    assert_eq!(settings.https_listen_port, 8443);
    assert!(
        !settings.runs(Part::Dns) && !settings.runs(Part::Proxy) && settings.runs(Part::Kubelet)
    );
}

#[test]
fn wrong_files_say_what_is_wrong() {
    let cases = [
        ("htps-listen-port: 1\n", "no such key: htps-listen-port"),
        ("config: x\n", "no such key: config"),
        ("max-pods: {a: 1}\n", "max-pods: should be"),
        ("- a\n", "should be a map"),
        ("max-pods: many\n", "invalid value 'many'"),
        ("disable: [kublet]\n", "invalid value 'kublet'"),
    ];
    for (text, want) in cases {
        let error = server(text, &[]).unwrap_err();
        assert!(error.contains(want), "{text:?} says {error:?}");
    }
    assert!(server("", &[]).is_ok());
}

#[test]
fn every_server_flag_has_its_variable() {
    let command = Cli::command();
    let server = command.find_subcommand("server").unwrap();
    for argument in server.get_arguments() {
        let Some(long) = argument
            .get_long()
            .filter(|l| !matches!(*l, "help" | "version" | "log"))
        else {
            continue;
        };
        let variable = format!("CORTEN_{}", long.to_uppercase().replace('-', "_"));
        assert_eq!(
            argument.get_env().and_then(|e| e.to_str()),
            Some(variable.as_str()),
            "--{long}"
        );
    }
}

#[test]
fn the_data_directory_is_absolute_and_may_be_named_behind_the_image_command() {
    let words = ["corten", "image", "import", "--data-dir", "here", "x.tar"];
    let matches = Cli::command().try_get_matches_from(words).unwrap();
    match Cli::from_arg_matches(&matches).unwrap().command {
        Command::Image(settings) => {
            assert!(
                settings.data.data_dir.is_absolute(),
                "{:?}",
                settings.data.data_dir
            );
            assert!(settings.data.data_dir.ends_with("here"));
        }
        other => panic!("{other:?}"),
    }
}
