//! `kubectl version`.

use crate::{error::Result, session::Session};

/// Prints both versions.
pub async fn run(session: &Session) -> Result<u8> {
    println!(
        "Client Version: v1.36.0 (corten {})",
        env!("CARGO_PKG_VERSION")
    );
    let server = session.get("/version").await?;
    println!(
        "Server Version: {}",
        server["gitVersion"].as_str().unwrap_or_default()
    );
    Ok(0)
}
