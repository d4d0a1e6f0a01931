//! Bootstrap tokens: what a new node proves itself with until it has a certificate. Each is a Secret
//! of type `bootstrap.kubernetes.io/token` in `kube-system` (upstream's format), named after the
//! token's public half.

use api::object::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::{AUTHENTICATED, AuthenticationError, UserInfo, same_secret, service_account::Live};

/// Type of the Secrets.
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of everybody who has such a token.
const GROUP: &str = "system:bootstrappers";

/// The two halves of a token, `abcdef.0123456789abcdef`; none when it is no bootstrap token.
fn halves(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    };
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// The user of a bootstrap token; none when the text is no bootstrap token at all.
pub(super) fn user(token: &str, live: &Live<'_>) -> Option<Result<UserInfo, AuthenticationError>> {
    let (id, secret) = halves(token)?;
    let name = format!("bootstrap-token-{id}");
    let object = live.objects.value("", "secrets", "kube-system", &name);
    let user = object.and_then(|object| check(&object, id, secret, live.now));
    // Why it does not hold is not told to who tries.
    Some(user.ok_or_else(|| AuthenticationError::Token("it is unknown or expired".to_owned())))
}

fn check(secret: &Value, id: &str, given: &str, now: Timestamp) -> Option<UserInfo> {
    let text = |key: &str| -> Option<String> {
        let bytes = STANDARD
            .decode(secret.at("data").get(key)?.as_str()?)
            .ok()?;
        String::from_utf8(bytes).ok()
    };
    let same = same_secret(text("token-secret")?.as_bytes(), given.as_bytes());
    let good = same
        && secret.text("type") == TYPE
        && !secret.has("metadata.deletionTimestamp")
        && text("token-id")? == id
        && text("usage-bootstrap-authentication").as_deref() == Some("true");
    if !good {
        return None;
    }
    if let Some(expiration) = text("expiration")
        && expiration.parse::<Timestamp>().ok()? <= now
    {
        return None;
    }
    let mut user = UserInfo::new(format!("system:bootstrap:{id}"), &[GROUP]);
    let extra = text("auth-extra-groups").unwrap_or_default();
    for group in extra.split(',').filter(|g| !g.is_empty()) {
        // Only groups below that of all bootstrappers: a token must not make an administrator.
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        user.groups.push(group.to_owned());
    }
    user.groups.push(AUTHENTICATED.to_owned());
    Some(user)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::{check, halves};

    /// Keys of a good token's Secret that are other, or gone.
    type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

    fn secret(changes: Changes<'_>) -> Value {
        let mut data = json!({
            "token-id": STANDARD.encode("abcdef"),
            "token-secret": STANDARD.encode("0123456789abcdef"),
            "usage-bootstrap-authentication": STANDARD.encode("true"),
            "auth-extra-groups": STANDARD.encode("system:bootstrappers:a"),
        });
        for (key, value) in changes {
            match value {
                Some(value) => data[*key] = STANDARD.encode(value).into(),
                None => {
                    data.as_object_mut().unwrap().remove(*key);
                }
            }
        }
        json!({"type": "bootstrap.kubernetes.io/token", "metadata": {}, "data": data})
    }

    #[test]
    fn tokens_have_two_plain_halves() {
        assert_eq!(
            halves("abcdef.0123456789abcdef"),
            Some(("abcdef", "0123456789abcdef"))
        );
        for wrong in [
            "",
            "abcdef",
            "abcde.0123456789abcdef",
            "abcdef.0123456789abcde",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcde.",
            "../../.0123456789abcdef",
        ] {
            assert_eq!(halves(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_holds_while_its_secret_says_so() {
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        let holds = |changes: Changes<'_>| {
            check(&secret(changes), "abcdef", "0123456789abcdef", now).is_some()
        };
        let cases: [(Changes<'_>, bool); 8] = [
            (&[], true),
            (&[("expiration", Some("2026-11-20T12:00:01Z"))], true),
            (&[("expiration", Some("2026-11-20T12:00:00Z"))], false),
            (&[("expiration", Some("soon"))], false),
            (&[("token-secret", Some("0123456789abcdeX"))], false),
            (&[("usage-bootstrap-authentication", None)], false),
            (&[("token-id", Some("other1"))], false),
            (&[("auth-extra-groups", Some("system:masters"))], false),
        ];
        for (changes, want) in cases {
            assert_eq!(holds(changes), want, "{changes:?}");
        }
        let user = check(&secret(&[]), "abcdef", "0123456789abcdef", now).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(
            user.groups,
            [
                "system:bootstrappers",
                "system:bootstrappers:a",
                "system:authenticated"
            ]
        );
    }
}
