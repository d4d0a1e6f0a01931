//! Seccomp profiles: the JSON that container tools share, resolved for one container.

use serde::Deserialize;

use super::syscalls;

/// A profile as written in a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// What happens to calls no rule names.
    pub default_action: String,
    /// The error number of `SCMP_ACT_ERRNO` there.
    pub default_errno_ret: Option<u32>,
    /// Rules.
    #[serde(default)]
    pub syscalls: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The calls it is about.
    #[serde(default)]
    pub names: Vec<String>,
    /// One call, in old files.
    pub name: Option<String>,
    /// What happens.
    pub action: String,
    /// The error number of `SCMP_ACT_ERRNO`.
    pub errno_ret: Option<u32>,
    /// Conditions on the arguments, all of which have to hold.
    #[serde(default)]
    pub args: Option<Vec<Argument>>,
    /// When the rule counts.
    #[serde(default)]
    pub includes: Option<Filter>,
    /// When it does not.
    #[serde(default)]
    pub excludes: Option<Filter>,
}

/// A condition on one argument.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Which argument.
    pub index: u32,
    /// Compared with.
    pub value: u64,
    /// The value after masking.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: String,
}

/// Circumstances of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Capabilities by name.
    #[serde(default)]
    pub caps: Vec<String>,
    /// Machines by name.
    #[serde(default)]
    pub arches: Vec<String>,
    /// Kernel at least `major.minor`.
    pub min_kernel: Option<String>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Allow,
    /// It fails with this number.
    Errno(u16),
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    KillProcess,
    /// The process gets SIGSYS.
    Trap,
    /// It is made and logged.
    Log,
    /// A tracer is told this number.
    Trace(u16),
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Equal after masking with this value.
    Masked(u64),
}

/// A condition, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Argument number, 0 to 5.
    pub index: u32,
    /// How it is compared.
    pub compare: Compare,
    /// With what.
    pub value: u64,
}

/// What a profile means for one container on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For calls no rule names.
    pub default: Action,
    /// Call number, conditions, action; the first rule that holds decides.
    pub rules: Vec<(u32, Vec<Condition>, Action)>,
}

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not a profile at all.
    #[error("seccomp profile is not valid: {0}")]
    Malformed(#[from] serde_json::Error),
    /// An action that is not known (or not supported).
    #[error("seccomp action {0:?} is not supported")]
    Action(String),
    /// A comparison that is not known.
    #[error("seccomp operator {0:?} is not known")]
    Operator(String),
    /// Arguments are numbered 0 to 5.
    #[error("seccomp argument index {0} is out of range")]
    Index(u32),
    /// More rules than the kernel takes.
    #[error("seccomp profile compiles to {0} instructions, more than the kernel takes")]
    TooLong(usize),
}

/// The circumstances a profile is resolved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Circumstances {
    /// Capabilities the container is given, one bit each.
    pub capabilities: u64,
    /// Kernel version.
    pub kernel: (u32, u32),
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, ProfileError> {
    let number = errno.unwrap_or(libc::EPERM as u32) as u16;
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(number),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(number),
        other => return Err(ProfileError::Action(other.to_owned())),
    })
}

impl Filter {
    fn matches(&self, now: &Circumstances) -> bool {
        let caps = self.caps.iter().all(|name| {
            crate::container::capabilities::number(name)
                .is_some_and(|n| now.capabilities & (1 << n) != 0)
        });
        let machine = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        let arch = self.arches.is_empty() || self.arches.iter().any(|a| a == machine);
        let kernel = self.min_kernel.as_ref().is_none_or(|text| {
            let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
            let wanted = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
            now.kernel >= wanted
        });
        caps && arch && kernel
    }

    /// An exclusion holds as soon as one of its circumstances does.
    fn touches(&self, now: &Circumstances) -> bool {
        let only = |caps: &[String], arches: &[String]| Filter {
            caps: caps.to_vec(),
            arches: arches.to_vec(),
            min_kernel: None,
        };
        self.caps
            .iter()
            .any(|c| only(std::slice::from_ref(c), &[]).matches(now))
            || (!self.arches.is_empty() && only(&[], &self.arches).matches(now))
    }
}

impl Profile {
    /// Reads a profile's JSON.
    pub fn parse(text: &[u8]) -> Result<Self, ProfileError> {
        Ok(serde_json::from_slice(text)?)
    }

    /// Resolves names and circumstances.
    pub fn resolve(&self, now: &Circumstances) -> Result<Policy, ProfileError> {
        let mut rules = Vec::new();
        for rule in &self.syscalls {
            let included = rule.includes.as_ref().is_none_or(|f| f.matches(now));
            let excluded = rule.excludes.as_ref().is_some_and(|f| f.touches(now));
            if !included || excluded {
                continue;
            }
            let action = action(&rule.action, rule.errno_ret)?;
            let conditions = rule
                .args
                .iter()
                .flatten()
                .map(condition)
                .collect::<Result<Vec<_>, _>>()?;
            for name in rule.names.iter().chain(&rule.name) {
                if let Some(number) = syscalls::number(name) {
                    rules.push((number, conditions.clone(), action));
                }
            }
        }
        Ok(Policy {
            default: action(&self.default_action, self.default_errno_ret)?,
            rules,
        })
    }
}

fn condition(argument: &Argument) -> Result<Condition, ProfileError> {
    if argument.index > 5 {
        return Err(ProfileError::Index(argument.index));
    }
    let mut value = argument.value;
    let compare = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Compare::Equal,
        "SCMP_CMP_NE" => Compare::NotEqual,
        "SCMP_CMP_LT" => Compare::Less,
        "SCMP_CMP_LE" => Compare::LessOrEqual,
        "SCMP_CMP_GT" => Compare::Greater,
        "SCMP_CMP_GE" => Compare::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" => {
            value = argument.value_two;
            Compare::Masked(argument.value)
        }
        other => return Err(ProfileError::Operator(other.to_owned())),
    };
    Ok(Condition {
        index: argument.index,
        compare,
        value,
    })
}
