//! Signal names, as images and pods write them.

/// Names by number.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const FIRST_REALTIME: i32 = 34;
const LAST_REALTIME: i32 = 64;

/// The number of a signal: `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`, `SIGRTMINPLUS3`.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=LAST_REALTIME).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return Some(at as i32 + 1);
    }
    let offset = |rest: &str, words: [&str; 2]| -> Option<i32> {
        if rest.is_empty() {
            return Some(0);
        }
        words
            .iter()
            .find_map(|w| rest.strip_prefix(w))?
            .parse()
            .ok()
    };
    let realtime = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => FIRST_REALTIME + offset(rest, ["+", "PLUS"])?,
        (_, Some(rest)) => LAST_REALTIME - offset(rest, ["-", "MINUS"])?,
        _ => {
            return match name {
                "CLD" => Some(17),
                "IOT" => Some(6),
                "POLL" => Some(29),
                _ => None,
            };
        }
    };
    (FIRST_REALTIME..=LAST_REALTIME)
        .contains(&realtime)
        .then_some(realtime)
}

/// The name of a signal as the kubelet's protocol has it.
pub fn name(number: i32) -> Option<String> {
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    if let Some(name) = NAMES.get(at) {
        return Some(format!("SIG{name}"));
    }
    match number - FIRST_REALTIME {
        0 => Some("SIGRTMIN".into()),
        offset @ 1..=15 => Some(format!("SIGRTMINPLUS{offset}")),
        30 => Some("SIGRTMAX".into()),
        offset @ 16..=29 => Some(format!("SIGRTMAXMINUS{}", 30 - offset)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        let cases = [
            ("15", Some(15)),
            ("TERM", Some(15)),
            ("sigquit", Some(3)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMINPLUS3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
            ("SIGCLD", Some(17)),
            ("0", None),
            ("99", None),
            ("SIGNONE", None),
            ("SIGRTMIN+99", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text}");
        }
        for signal in (1..=31).chain(34..=64) {
            assert_eq!(name(signal).and_then(|n| number(&n)), Some(signal));
        }
    }
}
