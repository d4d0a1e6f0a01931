//! Names: what makes a valid one, worded as upstream words it, and how one is made up from
//! `generateName`.

/// Longest name of most kinds (a DNS-1123 subdomain).
pub const SUBDOMAIN_MAX: usize = 253;
/// Longest label (a DNS-1123 label).
pub const LABEL_MAX: usize = 63;

const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const DNS1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const QUALIFIED_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// What is wrong with a value; empty when nothing is.
pub type Wrongs = Vec<String>;

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// The message with examples and the expression that checks it, in upstream's form.
pub fn regex_message(message: &str, expression: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{expression}')");
    }
    let examples: Vec<_> = examples
        .iter()
        .map(|example| format!("'{example}'"))
        .collect();
    format!(
        "{message} (e.g. {}, regex used for validation is '{expression}')",
        examples.join(",  or ")
    )
}

fn is_lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            is_lower_alnum(first)
                && is_lower_alnum(last)
                && bytes
                    .iter()
                    .all(|&byte| is_lower_alnum(byte) || byte == b'-')
        }
        _ => false,
    }
}

/// What is wrong with a DNS-1123 label.
pub fn dns1123_label(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > LABEL_MAX {
        wrongs.push(too_long(LABEL_MAX));
    }
    if !is_label(value) {
        if value.split('.').all(is_label) {
            wrongs.push("must not contain dots".to_owned());
            return wrongs;
        }
        wrongs.push(regex_message(
            LABEL_MESSAGE,
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "123-abc"],
        ));
    }
    wrongs
}

/// What is wrong with a DNS-1123 subdomain.
pub fn dns1123_subdomain(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrongs.push(too_long(SUBDOMAIN_MAX));
    }
    if !value.split('.').all(is_label) {
        wrongs.push(regex_message(
            SUBDOMAIN_MESSAGE,
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    wrongs
}

/// What is wrong with a DNS-1123 subdomain whose labels may also hold underscores.
pub fn dns1123_subdomain_with_underscore(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrongs.push(too_long(SUBDOMAIN_MAX));
    }
    let good = value.split('.').all(|label| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&first), Some(&last)) if is_lower_alnum(first) && is_lower_alnum(last))
            && bytes.iter().all(|&byte| is_lower_alnum(byte) || matches!(byte, b'-' | b'_'))
    });
    if !good {
        wrongs.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    wrongs
}

/// What is wrong with a DNS-1035 label.
pub fn dns1035_label(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > LABEL_MAX {
        wrongs.push(too_long(LABEL_MAX));
    }
    if !is_label(value) || !value.as_bytes()[0].is_ascii_lowercase() {
        wrongs.push(regex_message(
            DNS1035_MESSAGE,
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    wrongs
}

/// What is wrong with a wildcard DNS name (`*.example.com`).
pub fn wildcard_subdomain(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrongs.push(too_long(SUBDOMAIN_MAX));
    }
    if !value
        .strip_prefix("*.")
        .is_some_and(|rest| rest.split('.').all(is_label))
    {
        wrongs.push(regex_message(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        ));
    }
    wrongs
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        }
        _ => false,
    }
}

/// What is wrong with a qualified name (a label's or annotation's key).
pub fn qualified_name(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrongs.push("prefix part must be non-empty".to_owned());
            } else {
                wrongs.extend(
                    dns1123_subdomain(prefix)
                        .into_iter()
                        .map(|wrong| format!("prefix part {wrong}")),
                );
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_message(
                    QUALIFIED_MESSAGE,
                    "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]",
                    &["MyName", "my.name", "123-abc"]
                )
            )];
        }
    };
    if name.is_empty() {
        wrongs.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        wrongs.push(format!("name part must be no more than {LABEL_MAX} bytes"));
    }
    if !is_qualified_part(name) {
        wrongs.push(format!(
            "name part {}",
            regex_message(
                QUALIFIED_MESSAGE,
                "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]",
                &["MyName", "my.name", "123-abc"]
            )
        ));
    }
    wrongs
}

/// What is wrong with a label's value.
pub fn label_value(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > LABEL_MAX {
        wrongs.push(format!("must be no more than {LABEL_MAX} bytes"));
    }
    if !value.is_empty() && !is_qualified_part(value) {
        wrongs.push(regex_message(
            LABEL_VALUE_MESSAGE,
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    wrongs
}

/// What is wrong with a name used as one segment of a path (RBAC names).
pub fn path_segment(value: &str) -> Wrongs {
    match value {
        "." => return vec!["may not be '.'".to_owned()],
        ".." => return vec!["may not be '..'".to_owned()],
        _ => {}
    }
    [("/", "may not contain '/'"), ("%", "may not contain '%'")]
        .iter()
        .filter(|(part, _)| value.contains(part))
        .map(|(_, message)| (*message).to_owned())
        .collect()
}

/// What is wrong with a service port's or container port's name (IANA_SVC_NAME).
pub fn port_name(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > 15 {
        wrongs.push(too_long(15));
    }
    if !value
        .bytes()
        .all(|byte| is_lower_alnum(byte) || byte == b'-')
        || value.is_empty()
    {
        wrongs.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrongs.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        wrongs.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        wrongs.push("must not begin or end with a hyphen".to_owned());
    }
    wrongs
}

/// What is wrong with a port's number.
pub fn port_number(value: i64) -> Wrongs {
    if (1..=65535).contains(&value) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// What is wrong with the name of an environment variable (any printable ASCII but `=`).
pub fn env_var_name(value: &str) -> Wrongs {
    if !value.is_empty()
        && value
            .bytes()
            .all(|byte| (0x20..=0x7e).contains(&byte) && byte != b'=')
    {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// What is wrong with a key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Wrongs {
    let mut wrongs = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        wrongs.push(too_long(SUBDOMAIN_MAX));
    }
    if value.is_empty()
        || !value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        wrongs.push(regex_message(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => wrongs.push("must not be '.'".to_owned()),
        ".." => wrongs.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => wrongs.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrongs
}

/// What is wrong with an IP address.
pub fn ip(value: &str) -> Wrongs {
    if value.parse::<std::net::IpAddr>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
    }
}

/// What is wrong with a CIDR.
pub fn cidr(value: &str) -> Wrongs {
    if value.parse::<ipnet::IpNet>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
    }
}

/// How many characters a generated suffix has.
const SUFFIX: usize = 5;
/// Neither vowels nor look-alikes, so that no words arise.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name made of `base` and a random suffix. `random` answers a number below its argument.
pub fn generate(base: &str, mut random: impl FnMut(usize) -> usize) -> String {
    let mut end = base.len().min(LABEL_MAX - SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    name.extend((0..SUFFIX).map(|_| char::from(ALPHABET[random(ALPHABET.len()) % ALPHABET.len()])));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        type Check = fn(&str) -> Wrongs;
        let cases: &[(Check, &str, bool)] = &[
            (dns1123_label, "web-1", true),
            (dns1123_label, "Web", false),
            (dns1123_label, "a.b", false),
            (dns1123_label, "-a", false),
            (dns1123_label, "", false),
            (dns1123_subdomain, "a.b-c.d", true),
            (dns1123_subdomain, "a..b", false),
            (dns1123_subdomain, "a_b", false),
            (dns1035_label, "web", true),
            (dns1035_label, "1web", false),
            (qualified_name, "app.kubernetes.io/name", true),
            (qualified_name, "My_Name", true),
            (qualified_name, "/x", false),
            (qualified_name, "a/b/c", false),
            (qualified_name, "", false),
            (label_value, "", true),
            (label_value, "v1.2_3", true),
            (label_value, "a b", false),
            (port_name, "http", true),
            (port_name, "8080", false),
            (port_name, "a--b", false),
            (port_name, "averyverylongname", false),
            (config_map_key, "app.properties", true),
            (config_map_key, "..x", false),
            (config_map_key, "a/b", false),
            (path_segment, "system:node", true),
            (path_segment, "a/b", false),
            (env_var_name, "A-B.c d", true),
            (env_var_name, "A=B", false),
            (ip, "10.0.0.1", true),
            (ip, "10.0.0", false),
            (cidr, "10.0.0.0/8", true),
            (cidr, "10.0.0.0", false),
            (wildcard_subdomain, "*.foo.com", true),
            (wildcard_subdomain, "*foo.com", false),
        ];
        for (check, value, good) in cases {
            assert_eq!(
                check(value).is_empty(),
                *good,
                "{value}: {:?}",
                check(value)
            );
        }
    }

    #[test]
    fn long_bases_leave_room_for_the_suffix() {
        let name = generate(&"a".repeat(100), |_| 0);
        assert_eq!(name.len(), 63);
        assert!(name.ends_with("abbbbb"));
        assert_eq!(generate("web-", |n| n - 1), "web-99999");
    }
}
