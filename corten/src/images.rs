//! `corten image`: the images of this machine's node, also while the server runs.

use std::{io::IsTerminal, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use runtime::images::ImageStore;

use crate::settings::image::{ImageAction, ImageSettings};

/// Runs one of the commands.
pub async fn run(settings: ImageSettings) -> Result<()> {
    let root = settings.data.data_dir.join("runtime/images");
    let store = ImageStore::open(&root).with_context(|| {
        format!(
            "the images of {} (root? another --data-dir?)",
            settings.data.data_dir.display()
        )
    })?;
    match settings.action {
        ImageAction::Import { file } => import(store, &file).await,
        ImageAction::Pull {
            reference,
            credentials,
        } => pull(&store, &reference, credentials).await,
        ImageAction::Ls => list(&store),
        ImageAction::Rm { references } => remove(&store, &references),
    }
}

/// A bar on a terminal; nothing where nobody looks.
fn progress() -> (ProgressBar, runtime::images::OnProgress) {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {binary_bytes}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let shown = bar.clone();
    let tell = Arc::new(move |step: runtime::images::Progress| {
        let short: String = step.what.chars().take(19).collect();
        shown.set_message(format!("{short} {:?}", step.step));
        shown.set_position(step.done);
    });
    (bar, tell)
}

async fn import(store: Arc<ImageStore>, file: &Path) -> Result<()> {
    let (bar, tell) = progress();
    let path = if file == Path::new("-") {
        Path::new("/dev/stdin").to_path_buf()
    } else {
        file.to_path_buf()
    };
    let shown = file.display().to_string();
    let images = tokio::task::spawn_blocking(move || store.import(&path, Some(tell))).await?;
    bar.finish_and_clear();
    for image in images.with_context(|| format!("import {shown}"))? {
        if image.tags.is_empty() {
            println!("{}", image.id);
        }
        for tag in &image.tags {
            println!("{tag}");
        }
    }
    Ok(())
}

async fn pull(store: &Arc<ImageStore>, reference: &str, credentials: Option<String>) -> Result<()> {
    let credentials = match credentials {
        None => runtime::images::Credentials::Anonymous,
        Some(given) => {
            let (user, password) = given
                .split_once(':')
                .context("--credentials: should be USER:PASSWORD")?;
            runtime::images::Credentials::Basic(user.into(), password.into())
        }
    };
    let (bar, tell) = progress();
    let image = store.pull(reference, &credentials, Some(tell)).await;
    bar.finish_and_clear();
    println!("{}", image?.id);
    Ok(())
}

fn list(store: &ImageStore) -> Result<()> {
    let mut rows = Vec::new();
    for image in store.list()? {
        let id = image
            .id
            .trim_start_matches("sha256:")
            .chars()
            .take(12)
            .collect::<String>();
        let size = format!("{:.1}MB", image.size as f64 / 1e6);
        if image.tags.is_empty() {
            rows.push(["<none>".to_string(), id.clone(), size.clone()]);
        }
        rows.extend(
            image
                .tags
                .iter()
                .map(|tag| [tag.clone(), id.clone(), size.clone()]),
        );
    }
    rows.sort();
    rows.insert(0, ["IMAGE", "ID", "SIZE"].map(str::to_string));
    let width = rows
        .iter()
        .map(|r| r[0].chars().count())
        .max()
        .unwrap_or_default();
    for [name, id, size] in rows {
        println!("{name:<width$}   {id:<12}   {size}");
    }
    Ok(())
}

fn remove(store: &ImageStore, references: &[String]) -> Result<()> {
    let mut missing = Vec::new();
    for reference in references {
        if store.remove(reference)? {
            println!("{reference}");
        } else {
            missing.push(reference.as_str());
        }
    }
    if !missing.is_empty() {
        bail!(
            "no such image: {} (`corten image ls` lists them)",
            missing.join(", ")
        );
    }
    Ok(())
}
