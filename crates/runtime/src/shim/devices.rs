//! Which device files a container may use: the device controller's rules in version 1, a small
//! eBPF program in version 2.

use std::{fs, os::fd::AsFd};

use rustix::fs::FileType;

use super::{
    cgroup::Hierarchies,
    fault::{Fault, Step},
    spec::DeviceSpec,
};
use crate::sys;

/// One permission. None as a number stands for every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    kind: char,
    major: Option<u32>,
    minor: Option<u32>,
    read: bool,
    write: bool,
    make: bool,
}

impl Rule {
    const fn new(kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> Self {
        let access = access.as_bytes();
        let mut rule = Self {
            kind,
            major,
            minor,
            read: false,
            write: false,
            make: false,
        };
        let mut i = 0;
        while i < access.len() {
            match access[i] {
                b'r' => rule.read = true,
                b'w' => rule.write = true,
                b'm' => rule.make = true,
                _ => {}
            }
            i += 1;
        }
        rule
    }

    fn text(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let mut text = format!(
            "{} {}:{} ",
            self.kind,
            number(self.major),
            number(self.minor)
        );
        for (set, letter) in [(self.read, 'r'), (self.write, 'w'), (self.make, 'm')] {
            if set {
                text.push(letter);
            }
        }
        text
    }
}

/// What every container may do: make any node, use the harmless ones and its terminals.
const STANDARD: [Rule; 11] = [
    Rule::new('c', None, None, "m"),
    Rule::new('b', None, None, "m"),
    Rule::new('c', Some(1), Some(3), "rwm"),
    Rule::new('c', Some(1), Some(5), "rwm"),
    Rule::new('c', Some(1), Some(7), "rwm"),
    Rule::new('c', Some(1), Some(8), "rwm"),
    Rule::new('c', Some(1), Some(9), "rwm"),
    Rule::new('c', Some(5), Some(0), "rwm"),
    Rule::new('c', Some(5), Some(1), "rwm"),
    Rule::new('c', Some(5), Some(2), "rwm"),
    Rule::new('c', Some(136), None, "rwm"),
];

/// The rules for the standard devices and those asked for.
fn rules(devices: &[DeviceSpec]) -> Result<Vec<Rule>, Fault> {
    let mut rules = STANDARD.to_vec();
    for device in devices {
        let stat = rustix::fs::stat(&device.host_path)
            .step(|| format!("look at device {}", device.host_path.display()))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice => 'b',
            _ => 'c',
        };
        let (major, minor) = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        rules.push(Rule::new(
            kind,
            Some(major),
            Some(minor),
            &device.permissions,
        ));
    }
    Ok(rules)
}

/// Restricts a group to the standard devices and those asked for.
pub fn restrict(
    hierarchies: &Hierarchies,
    path: &str,
    devices: &[DeviceSpec],
) -> Result<(), Fault> {
    let rules = rules(devices)?;
    if let Some(group) = hierarchies.open_unified(path) {
        let what = || "attach the device filter".to_owned();
        // Attaching needs a real descriptor, not a path-only one.
        let readable = fs::File::open(super::create::descriptor_path(&group)).step(what)?;
        return sys::process::attach_device_filter(readable.as_fd(), &program(&rules)).step(what);
    }
    let Some(directory) = hierarchies.directory("devices", path) else {
        return Ok(());
    };
    fs::write(directory.join("devices.deny"), "a").step(|| "deny devices".into())?;
    for rule in rules {
        fs::write(directory.join("devices.allow"), rule.text())
            .step(|| format!("allow device {}", rule.text()))?;
    }
    Ok(())
}

fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    let mut bytes = [0_u8; 8];
    bytes[0] = code;
    bytes[1] = dst | src << 4;
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&immediate.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// Compiles rules to eBPF. The context is `{ access_type: u32, major: u32, minor: u32 }`, the
/// type in the low half of the first word and the access in the high half.
fn program(rules: &[Rule]) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const AND32_IMMEDIATE: u8 = 0x54;
    const RSH32_IMMEDIATE: u8 = 0x74;
    const MOV32_REGISTER: u8 = 0xbc;
    const MOV32_IMMEDIATE: u8 = 0xb4;
    const JNE32_IMMEDIATE: u8 = 0x56;
    const JNE32_REGISTER: u8 = 0x5e;
    const EXIT: u8 = 0x95;
    let mut code = vec![
        // r2 = type, r3 = access, r4 = major, r5 = minor
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOV32_REGISTER, 3, 2, 0, 0),
        instruction(AND32_IMMEDIATE, 2, 0, 0, 0xffff),
        instruction(RSH32_IMMEDIATE, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let access = i32::from(rule.make) | i32::from(rule.read) << 1 | i32::from(rule.write) << 2;
        // Tests that all lead to the end of this rule's block when they fail.
        let mut tests: Vec<(u8, u8, u8, i32)> = Vec::new();
        let kind = if rule.kind == 'b' { 1 } else { 2 };
        tests.push((JNE32_IMMEDIATE, 2, 0, kind));
        if let Some(major) = rule.major {
            tests.push((JNE32_IMMEDIATE, 4, 0, major as i32));
        }
        if let Some(minor) = rule.minor {
            tests.push((JNE32_IMMEDIATE, 5, 0, minor as i32));
        }
        // r1 = access & allowed; all of what is wanted has to be allowed.
        let prefix = 2;
        let total = prefix + tests.len() + 1 + 2;
        code.push(instruction(MOV32_REGISTER, 1, 3, 0, 0));
        code.push(instruction(AND32_IMMEDIATE, 1, 0, 0, access));
        tests.push((JNE32_REGISTER, 1, 3, 0));
        for (i, (op, dst, src, immediate)) in tests.iter().enumerate() {
            let offset = total - prefix - i - 1;
            code.push(instruction(*op, *dst, *src, offset as i16, *immediate));
        }
        code.push(instruction(MOV32_IMMEDIATE, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(MOV32_IMMEDIATE, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions the compiler uses.
    fn run(code: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u32 {
        let context = [kind | access << 16, major, minor];
        let mut r = [0_u32; 11];
        let mut pc = 0_usize;
        loop {
            let bytes = code[pc].to_ne_bytes();
            let (dst, src) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_ne_bytes([bytes[2], bytes[3]]);
            let immediate = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            pc += 1;
            let jump = match bytes[0] {
                0x61 => {
                    r[dst] = context[offset as usize / 4];
                    false
                }
                0x54 => {
                    r[dst] &= immediate;
                    false
                }
                0x74 => {
                    r[dst] >>= immediate;
                    false
                }
                0xbc => {
                    r[dst] = r[src];
                    false
                }
                0xb4 => {
                    r[dst] = immediate;
                    false
                }
                0x56 => r[dst] != immediate,
                0x5e => r[dst] != r[src],
                0x95 => return r[0],
                other => panic!("unknown instruction {other:#x}"),
            };
            if jump {
                pc = (pc as i64 + i64::from(offset)) as usize;
            }
        }
    }

    #[test]
    fn the_filter_allows_what_the_rules_say() {
        let code = program(&STANDARD);
        // Access: 1 make, 2 read, 4 write. Type: 1 block, 2 character.
        let cases = [
            (2, 2, 1, 3, 1),
            (2, 6, 1, 9, 1),
            (2, 7, 136, 42, 1),
            (2, 1, 240, 1, 1),
            (1, 1, 8, 0, 1),
            (1, 2, 8, 0, 0),
            (2, 2, 1, 1, 0),
            (2, 4, 10, 232, 0),
        ];
        for (kind, access, major, minor, allowed) in cases {
            assert_eq!(
                run(&code, kind, access, major, minor),
                allowed,
                "{kind} {access} {major}:{minor}"
            );
        }
    }

    #[test]
    fn rules_print_as_version_1_takes_them() {
        assert_eq!(STANDARD[0].text(), "c *:* m");
        assert_eq!(STANDARD[10].text(), "c 136:* rwm");
    }
}
