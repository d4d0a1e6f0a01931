//! What a container said last: its termination message, or the end of its log where the pod's
//! `terminationMessagePolicy` falls back to that. It goes into the terminated state's `message`.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use crate::log_lines::{Filter, Writer};

/// Longest termination message, as upstream cuts it.
const MAX_MESSAGE: u64 = 4096;
/// Longest message taken from a log, as upstream cuts it.
const MAX_FROM_LOG: usize = 2048;
/// Most log lines in it, as upstream counts them.
const MAX_LINES: usize = 80;
/// How much of the log's end is read: it holds either so many lines or so much text, as a line of
/// the runtime's has 16 KiB of text and some fifty bytes before it at most.
const LOOK_BACK: u64 = 32 << 10;

/// Reads them: from the termination message, else from `output` (the container's log) if given.
pub fn read(message: &Path, output: Option<&Path>) -> String {
    let (words, _) = tail(message, MAX_MESSAGE).unwrap_or_default();
    if words.is_empty()
        && let Some(output) = output
    {
        let (log, whole) = tail(output, LOOK_BACK).unwrap_or_default();
        return last_lines(&log, whole);
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// The end of a file, and whether that is the whole file.
fn tail(path: &Path, most: u64) -> std::io::Result<(Vec<u8>, bool)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, length <= most))
}

/// The last lines of a log, without what the runtime wrote before each.
fn last_lines(log: &[u8], whole: bool) -> String {
    let mut lines: Vec<&[u8]> = log.split_inclusive(|b| *b == b'\n').collect();
    if !whole && !lines.is_empty() {
        // Its beginning was not read.
        lines.remove(0);
    }
    let first = lines.len().saturating_sub(MAX_LINES);
    let text = Writer::new(Filter::default(), None).write(&lines[first..].concat());
    let text = &text[text.len().saturating_sub(MAX_FROM_LOG)..];
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: &str, text: &str) -> String {
        format!("2026-01-01T00:00:00.000000000Z stdout {tag} {text}\n")
    }

    #[test]
    fn logs_end_as_the_container_ended_them() {
        let many: String = (0..100).map(|n| entry("F", &n.to_string())).collect();
        let last_eighty: String = (20..100).map(|n| format!("{n}\n")).collect();
        let long = "x".repeat(3000);
        let cases = [
            (entry("P", "DONE"), "DONE".to_owned()),
            (entry("F", "DONE"), "DONE\n".to_owned()),
            (
                entry("P", "in ") + &entry("F", "parts"),
                "in parts\n".to_owned(),
            ),
            (many, last_eighty),
            (entry("P", &long), "x".repeat(MAX_FROM_LOG)),
            (String::new(), String::new()),
        ];
        for (log, expected) in cases {
            assert_eq!(last_lines(log.as_bytes(), true), expected);
        }
        assert_eq!(
            last_lines(format!("ext\n{}", entry("F", "whole")).as_bytes(), false),
            "whole\n"
        );
    }

    #[test]
    fn the_message_comes_before_the_log() {
        let home = tempfile::tempdir().expect("a directory");
        let (message, log) = (home.path().join("message"), home.path().join("log"));
        std::fs::write(&log, entry("P", "from the log")).expect("written");
        assert_eq!(read(&message, None), "");
        assert_eq!(read(&message, Some(&log)), "from the log");
        std::fs::write(&message, "m".repeat(5000)).expect("written");
        assert_eq!(read(&message, Some(&log)).len(), 4096);
    }
}
