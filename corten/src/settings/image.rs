//! `corten image`: flags of the commands about this machine's images.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DataDir;

/// `corten image`.
#[derive(Clone, Debug, Args)]
pub struct ImageSettings {
    /// Whose images.
    #[command(flatten)]
    pub data: DataDir,
    /// What to do.
    #[command(subcommand)]
    pub action: ImageAction,
}

/// What to do with images.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageAction {
    /// Take images from an archive that `docker save` wrote, or from an OCI layout (a tar of it).
    Import {
        /// The archive; `-` reads standard input.
        file: PathBuf,
    },
    /// Fetch an image from its registry.
    Pull {
        /// The image's name.
        reference: String,
        /// User name and password, where the registry asks for them.
        #[arg(
            long,
            env = "CORTEN_REGISTRY_CREDENTIALS",
            value_name = "USER:PASSWORD",
            hide_env_values = true
        )]
        credentials: Option<String>,
    },
    /// List images.
    Ls,
    /// Remove images.
    Rm {
        /// Names or ids.
        #[arg(required = true)]
        references: Vec<String>,
    },
}
