//! The cases, by subject.

pub mod archive;
mod containers;
mod cri;
mod images;
mod oracle;
mod registry;
mod speed;
mod streaming;
mod unified;

use crate::harness::Case;

/// Makes a case of an async function.
macro_rules! case {
    ($module:ident :: $name:ident) => {
        (
            concat!(stringify!($module), "::", stringify!($name)),
            |node| Box::pin($module::$name(node)),
        )
    };
}

pub fn all() -> Vec<Case> {
    vec![
        case!(images::layers_are_unpacked_as_they_are),
        case!(images::hostile_layers_stay_inside),
        case!(images::damaged_images_are_refused_with_the_reason),
        case!(images::layers_live_as_long_as_somebody_needs_them),
        case!(images::a_second_process_sees_and_changes_the_same_store),
        case!(images::the_built_in_image_is_made_once_per_program),
        case!(images::oci_layouts_are_imported),
        case!(containers::runs_logs_and_stops),
        case!(containers::bad_commands_say_why),
        case!(containers::oom_kills_are_reported),
        case!(containers::outlive_the_server),
        case!(containers::logs_rotate_without_losing_lines),
        case!(containers::pods_can_share_processes_and_the_nodes_network),
        case!(containers::limits_apply_and_can_change),
        case!(containers::mounts_are_what_was_asked_for),
        case!(containers::a_broken_network_fails_the_sandbox),
        case!(containers::survive_the_kill_of_the_server),
        case!(cri::the_runtime_tells_about_itself),
        case!(cri::images_are_listed_inspected_and_removed),
        case!(cri::pods_and_containers_live_from_call_to_call),
        case!(cri::refusals_have_the_codes_clients_know),
        case!(registry::images_are_pulled_and_run),
        case!(registry::private_images_need_credentials),
        case!(registry::broken_transfers_are_made_again),
        case!(registry::pulls_cut_by_a_kill_leave_nothing_and_can_be_made_again),
        case!(oracle::containers_see_the_same_as_under_runc),
        case!(streaming::exec_carries_streams_and_exit_codes),
        case!(streaming::exec_that_takes_too_long_is_killed),
        case!(streaming::attach_follows_a_running_container),
        case!(streaming::the_one_client_misses_nothing),
        case!(streaming::ports_are_forwarded_into_the_pod),
        case!(unified::containers_live_in_version_2_groups),
        case!(speed::figures),
    ]
}
