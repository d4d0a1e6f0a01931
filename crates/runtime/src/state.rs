//! Small files of the state directory, written so that a crash leaves the old or the new text.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// Replaces a file whole: temporary file, then rename. The text is private to root.
pub(crate) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text)?;
    drop(file);
    fs::rename(&temporary, path)
}

/// As [`write`], and on the disk when it returns.
pub(crate) fn write_durably(path: &Path, text: &[u8]) -> io::Result<()> {
    write(path, text)?;
    fs::File::open(path)?.sync_all()?;
    sync_parent(path)
}

/// Puts a directory's entries on the disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A new id: 64 hexadecimal digits.
pub(crate) fn new_id() -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0_u8; 32];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Without a random source the clock and process still tell ids apart.
        let seed = format!("{:?}{}", std::time::SystemTime::now(), std::process::id());
        let digest = ring::digest::digest(&ring::digest::SHA256, seed.as_bytes());
        bytes.copy_from_slice(digest.as_ref());
    }
    hex(&bytes)
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}
