//! The runtime's log lines (`time stream tag text`) as whoever asks wants them: `kubectl logs`, or
//! the last words of a container that ended. Pure.

use jiff::Timestamp;

/// Which lines, and how they look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Of this stream only.
    pub stream: Option<String>,
    /// With their time.
    pub timestamps: bool,
}

/// Turns lines into output, up to a limit.
#[derive(Debug)]
pub struct Writer {
    filter: Filter,
    left: Option<u64>,
    /// A line's first part was passed on, and its end was not.
    inside: bool,
}

impl Writer {
    /// A writer of at most so many bytes.
    pub fn new(filter: Filter, limit: Option<u64>) -> Self {
        Self {
            filter,
            left: limit,
            inside: false,
        }
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// The output of whole lines.
    pub fn write(&mut self, lines: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|b| *b == b'\n') {
            self.one(line, &mut out);
        }
        if let Some(left) = self.left.as_mut() {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            out.truncate(most);
            *left -= out.len() as u64;
        }
        out
    }

    fn one(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let (Some(time), Some(stream), Some(tag), Some(text)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            // Not the runtime's: nothing a container said.
            return;
        };
        if let Some(since) = self.filter.since {
            let stamp = std::str::from_utf8(time)
                .ok()
                .and_then(|t| t.parse::<Timestamp>().ok());
            if stamp.is_none_or(|stamp| stamp < since) {
                return;
            }
            // Time only goes on.
            self.filter.since = None;
        }
        if self
            .filter
            .stream
            .as_ref()
            .is_some_and(|wanted| wanted.as_bytes() != stream)
        {
            return;
        }
        if self.filter.timestamps && !self.inside {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        let partial = tag.first() == Some(&b'P');
        self.inside = partial;
        if partial {
            out.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        } else {
            out.extend_from_slice(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"2026-01-01T00:00:00.5Z stdout F one\n\
        2026-01-01T00:00:01Z stderr F two\n\
        2026-01-01T00:00:02Z stdout P thr\n\
        2026-01-01T00:00:02Z stdout F ee\n\
        2026-01-01T00:00:03Z stdout F \n";

    fn show(filter: Filter, limit: Option<u64>) -> String {
        String::from_utf8_lossy(&Writer::new(filter, limit).write(LOG)).into_owned()
    }

    #[test]
    fn views() {
        assert_eq!(show(Filter::default(), None), "one\ntwo\nthree\n\n");
        let stderr = Filter {
            stream: Some("stderr".into()),
            timestamps: true,
            ..Default::default()
        };
        assert_eq!(show(stderr, None), "2026-01-01T00:00:01Z two\n");
        let late = Filter {
            since: "2026-01-01T00:00:01Z".parse().ok(),
            ..Default::default()
        };
        assert_eq!(show(late, None), "two\nthree\n\n");
        assert_eq!(show(Filter::default(), Some(5)), "one\nt");
    }
}
