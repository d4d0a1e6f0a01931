//! Container logs in the CRI format: `TIME STREAM TAG TEXT`, one line each, where the tag is `F`
//! for a full line and `P` for a part of a long one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

/// Longest text of one log line; a longer line is cut into parts.
const MAX_LINE: usize = 16 << 10;

/// Which output a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and everything from a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A log file, open for appending.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens (or makes) the file.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = Self::file(&path)?;
        Ok(Self { path, file })
    }

    fn file(path: &PathBuf) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path)
    }

    /// Opens the path again, after the file has been moved away.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = Self::file(&self.path)?;
        Ok(())
    }

    /// Appends formatted lines.
    pub fn append(&mut self, lines: &[u8]) {
        // A full disk must not stop the container: the lines are lost, as the container's user
        // would see with any other runtime.
        let _ = self.file.write_all(lines);
    }
}

/// Cuts one output stream into log lines.
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    rest: Vec<u8>,
}

impl Lines {
    /// For one stream.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    /// Takes output in and gives the log lines it completes.
    pub fn push(&mut self, mut data: &[u8], now: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 64);
        while !data.is_empty() {
            let room = MAX_LINE - self.rest.len();
            match data.iter().take(room + 1).position(|b| *b == b'\n') {
                Some(end) => {
                    let (line, more) = data.split_at(end);
                    self.write(&mut out, line, "F", now);
                    data = &more[1..];
                }
                None if data.len() > room => {
                    let (part, more) = data.split_at(room);
                    self.write(&mut out, part, "P", now);
                    data = more;
                }
                None => {
                    self.rest.extend_from_slice(data);
                    data = &[];
                }
            }
        }
        out
    }

    /// The last, unfinished line. It stays a part, so that a reader does not give it a newline
    /// that the container never wrote.
    pub fn finish(&mut self, now: i64) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.rest.is_empty() {
            self.write(&mut out, &[], "P", now);
        }
        out
    }

    fn write(&mut self, out: &mut Vec<u8>, text: &[u8], tag: &str, now: i64) {
        timestamp(now, out);
        out.push(b' ');
        out.extend_from_slice(self.stream.name().as_bytes());
        out.push(b' ');
        out.extend_from_slice(tag.as_bytes());
        out.push(b' ');
        out.extend_from_slice(&self.rest);
        out.extend_from_slice(text);
        out.push(b'\n');
        self.rest = Vec::new();
    }
}

/// Writes nanoseconds since 1970 as RFC 3339 with nine decimals, in UTC.
pub fn timestamp(nanoseconds: i64, out: &mut Vec<u8>) {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let fraction = nanoseconds.rem_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days, with years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z"
    );
}

/// Now, in nanoseconds since 1970.
pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_735_689_599_999_999_999, "2024-12-31T23:59:59.999999999Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ];
        for (nanoseconds, text) in cases {
            let mut out = Vec::new();
            timestamp(nanoseconds, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    const T: &str = "1970-01-01T00:00:00.000000000Z";

    #[test]
    fn output_becomes_lines() {
        let mut lines = Lines::new(Stream::Stdout);
        assert_eq!(
            lines.push(b"one\ntw", 0),
            format!("{T} stdout F one\n").into_bytes()
        );
        assert_eq!(
            lines.push(b"o\n\n", 0),
            format!("{T} stdout F two\n{T} stdout F \n").into_bytes()
        );
        assert_eq!(lines.push(b"end", 0), b"");
        assert_eq!(lines.finish(0), format!("{T} stdout P end\n").into_bytes());
        assert_eq!(lines.finish(0), b"");
    }

    #[test]
    fn long_lines_are_cut_and_lose_nothing() {
        let text = vec![b'x'; MAX_LINE * 2 + 5];
        let mut lines = Lines::new(Stream::Stderr);
        let mut out = Vec::new();
        for chunk in text.chunks(1000) {
            out.extend(lines.push(chunk, 0));
        }
        out.extend(lines.push(b"\n", 0));
        let out = String::from_utf8(out).unwrap();
        let tags: Vec<_> = out.lines().map(|l| l.split(' ').nth(2).unwrap()).collect();
        assert_eq!(tags, ["P", "P", "F"]);
        let total: usize = out
            .lines()
            .map(|l| l.rsplit(' ').next().unwrap().len())
            .sum();
        assert_eq!(total, text.len());
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_full() {
        let mut text = vec![b'x'; MAX_LINE];
        text.push(b'\n');
        let out = Lines::new(Stream::Stdout).push(&text, 0);
        assert_eq!(out.split(|b| *b == b'\n').count(), 2);
        assert!(out.starts_with(format!("{T} stdout F x").as_bytes()));
    }
}
