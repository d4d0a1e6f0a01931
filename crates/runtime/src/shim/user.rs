//! Looks a user up in the container's own `/etc/passwd` and `/etc/group`.

use super::{
    fault::Fault,
    spec::{Identity, UserSpec},
};

/// Longest file read; a longer one is cut, so that a hostile image cannot fill memory.
const MAX_FILE: u64 = 8 << 20;

/// A user found, with the home directory for `$HOME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Ids.
    pub identity: Identity,
    /// Home directory.
    pub home: String,
}

/// Reads the files of the current root and resolves.
pub fn lookup(spec: &UserSpec) -> Result<Found, Fault> {
    resolve(spec, &read("/etc/passwd"), &read("/etc/group"))
}

fn read(path: &str) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    // A missing file is usual in small images and means that only numbers can be used.
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        let home = fields.nth(1).unwrap_or("");
        Some(Account {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home,
        })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

/// Resolves `user[:group]` against the two files' texts.
pub fn resolve(spec: &UserSpec, passwd: &str, group: &str) -> Result<Found, Fault> {
    let (user, primary) = match spec.name.split_once(':') {
        Some((user, primary)) => (user, Some(primary)),
        None => (spec.name.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let account = accounts(passwd)
        .find(|a| a.name == user)
        .or_else(|| accounts(passwd).find(|a| Some(a.uid) == number));
    let uid = match (&account, number) {
        (Some(account), _) => account.uid,
        (None, Some(number)) => number,
        (None, None) => {
            return Err(Fault::new(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    let named = match primary {
        None | Some("") => None,
        Some(text) => Some(
            groups(group)
                .find(|(name, ..)| *name == text)
                .map(|(_, gid, _)| gid)
                .or_else(|| text.parse().ok())
                .ok_or_else(|| {
                    Fault::new(format!(
                        "unable to find group {text}: no matching entries in group file"
                    ))
                })?,
        ),
    };
    let gid = spec
        .gid
        .or(named)
        .or(account.as_ref().map(|a| a.gid))
        .unwrap_or(0);
    let mut all = vec![gid];
    let mut add = |gid: u32| {
        if !all.contains(&gid) {
            all.push(gid);
        }
    };
    if !spec.strict_groups
        && let Some(account) = &account
    {
        groups(group)
            .filter(|(_, _, members)| members.split(',').any(|m| m == account.name))
            .for_each(|(_, gid, _)| add(gid));
    }
    spec.additional_gids.iter().copied().for_each(add);
    Ok(Found {
        identity: Identity {
            uid,
            gid,
            groups: all,
        },
        home: match account.map(|a| a.home) {
            Some(home) if !home.is_empty() => home.to_owned(),
            _ => "/".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000:App:/home/app:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app,other\napp:x:2000:\n";

    fn found(name: &str, gid: Option<u32>, more: &[u32], strict: bool) -> Result<Found, Fault> {
        let spec = UserSpec {
            name: name.into(),
            gid,
            additional_gids: more.to_vec(),
            strict_groups: strict,
        };
        resolve(&spec, PASSWD, GROUP)
    }

    #[test]
    fn users_resolve_as_in_their_own_files() {
        let cases = [
            ("", None, vec![], false, (0, 0, vec![0], "/root")),
            (
                "app",
                None,
                vec![],
                false,
                (1000, 2000, vec![2000, 50], "/home/app"),
            ),
            (
                "1000",
                None,
                vec![7],
                false,
                (1000, 2000, vec![2000, 50, 7], "/home/app"),
            ),
            (
                "1000",
                Some(3),
                vec![7],
                true,
                (1000, 3, vec![3, 7], "/home/app"),
            ),
            ("4242", None, vec![], false, (4242, 0, vec![0], "/")),
            (
                "4242:staff",
                None,
                vec![50],
                false,
                (4242, 50, vec![50], "/"),
            ),
            (
                "app:77",
                None,
                vec![],
                true,
                (1000, 77, vec![77], "/home/app"),
            ),
        ];
        for (name, gid, more, strict, (uid, primary, groups, home)) in cases {
            let found = found(name, gid, &more, strict).unwrap();
            assert_eq!(
                found.identity,
                Identity {
                    uid,
                    gid: primary,
                    groups
                },
                "{name}"
            );
            assert_eq!(found.home, home, "{name}");
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(
            found("nobody", None, &[], false).unwrap_err().to_string(),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert!(found("app:none", None, &[], false).is_err());
    }
}
