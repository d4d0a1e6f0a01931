//! Overlay mounts: image layers below, a container's own writable layer on top.
//!
//! The mount itself is made by the container's process in its own mount namespace (see
//! `shim::rootfs`), so nothing has to be unmounted on the node, whatever crashes.

use std::path::Path;

/// Name of the always empty layer in the layers directory.
pub const EMPTY_LAYER: &str = "empty";

/// The data string of an overlay mount. Layer names are relative to the current directory.
pub fn options(lower: &[String], writable: Option<(&Path, &Path)>) -> String {
    let mut text = format!("lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = writable {
        text.push_str(&format!(
            ",upperdir={},workdir={}",
            escape(&upper.display().to_string()),
            escape(&work.display().to_string())
        ));
    } else if lower.len() == 1 {
        // Without a writable layer the kernel wants at least two.
        text.push(':');
        text.push_str(EMPTY_LAYER);
    }
    text
}

/// Protects the characters that separate options.
fn escape(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, ',' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_layers_relatively_and_escape_paths() {
        let lower = ["b".to_owned(), "a".to_owned()];
        assert_eq!(options(&lower, None), "lowerdir=b:a");
        assert_eq!(options(&lower[..1], None), "lowerdir=b:empty");
        assert_eq!(
            options(&lower, Some((Path::new("/x,y/u"), Path::new("/x,y/w")))),
            "lowerdir=b:a,upperdir=/x\\,y/u,workdir=/x\\,y/w"
        );
    }
}
