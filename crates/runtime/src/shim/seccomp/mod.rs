//! Seccomp: from a profile to the kernel's classic BPF.
//!
//! The server compiles filters (and remembers those of the default profile); the shim only installs
//! the bytes.

mod default;
mod profile;
mod syscalls;

pub use default::{default_filter, default_profile};
pub use profile::{Action, Circumstances, Compare, Condition, Policy, Profile, ProfileError};

/// One classic BPF instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xc000_00b7;

/// Longest program the kernel takes.
const MAX_PROGRAM: usize = 4096;

fn statement(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn result(action: Action) -> Instruction {
    let value = match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(number) => 0x0005_0000 | u32::from(number),
        Action::Trace(number) => 0x7ff0_0000 | u32::from(number),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    };
    statement(RETURN, value)
}

/// What happens for a contiguous range of call numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    code: Vec<Instruction>,
}

/// Compiles a policy to the bytes of the kernel's `sock_filter` array.
pub fn compile(policy: &Policy) -> Result<Vec<u8>, ProfileError> {
    let mut program = vec![
        // Calls of a foreign machine's convention have other numbers: none of them passes.
        statement(LOAD, 4),
        jump(JUMP_EQUAL, MACHINE, 1, 0),
        result(Action::KillProcess),
        statement(LOAD, 0),
    ];
    if cfg!(target_arch = "x86_64") {
        // The x32 convention shares the machine's name.
        program.push(jump(JUMP_GREATER_OR_EQUAL, 0x4000_0000, 0, 1));
        program.push(result(Action::Errno(libc::ENOSYS as u16)));
    }
    search(&ranges(policy), &mut program);
    if program.len() > MAX_PROGRAM {
        return Err(ProfileError::TooLong(program.len()));
    }
    Ok(program
        .iter()
        .flat_map(|i| {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&i.code.to_ne_bytes());
            bytes[2] = i.jt;
            bytes[3] = i.jf;
            bytes[4..].copy_from_slice(&i.k.to_ne_bytes());
            bytes
        })
        .collect())
}

/// Cuts the numbers into ranges that share their fate.
fn ranges(policy: &Policy) -> Vec<Range> {
    let mut numbers: Vec<u32> = policy.rules.iter().map(|(n, ..)| *n).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let default = vec![result(policy.default)];
    let mut ranges = vec![Range {
        first: 0,
        code: default.clone(),
    }];
    let mut add = |first: u32, code: &Vec<Instruction>| {
        if let Some(last) = ranges.last_mut().filter(|last| last.first == first) {
            last.code.clone_from(code);
        } else if ranges.last().is_none_or(|last| last.code != *code) {
            ranges.push(Range {
                first,
                code: code.clone(),
            });
        }
    };
    for number in numbers {
        add(number, &decide(policy, number));
        add(number + 1, &default);
    }
    // Two neighbours that were made equal by a replacement become one.
    ranges.dedup_by(|later, earlier| later.code == earlier.code);
    ranges
}

/// The code that decides on one call: its rules in order, an unconditional one ends them.
fn decide(policy: &Policy, number: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    let rules: Vec<_> = policy.rules.iter().filter(|(n, ..)| *n == number).collect();
    for (_, conditions, action) in rules.iter().filter(|(_, c, _)| !c.is_empty()) {
        code.extend(check(conditions, *action));
    }
    let last = rules.iter().find(|(_, c, _)| c.is_empty());
    code.push(result(last.map_or(policy.default, |(.., action)| *action)));
    code
}

/// A block that returns the action when all conditions hold, and is passed over otherwise.
fn check(conditions: &[Condition], action: Action) -> Vec<Instruction> {
    let blocks: Vec<Vec<Step>> = conditions.iter().map(compare).collect();
    let total: usize = blocks.iter().map(Vec::len).sum();
    let mut code = Vec::with_capacity(total + 1);
    for block in &blocks {
        let end = code.len() + block.len();
        for step in block {
            let here = code.len() + 1;
            let offset = |target: Target| match target {
                Target::Next => 0,
                // All of these lie within one rule, far closer than a jump's reach.
                Target::Holds => (end - here) as u8,
                Target::Fails => (total + 1 - here) as u8,
            };
            code.push(Instruction {
                jt: offset(step.yes),
                jf: offset(step.no),
                ..step.instruction
            });
        }
    }
    code.push(result(action));
    code
}

#[derive(Clone, Copy)]
enum Target {
    Next,
    Holds,
    Fails,
}

struct Step {
    instruction: Instruction,
    yes: Target,
    no: Target,
}

/// One 64-bit comparison out of 32-bit ones.
fn compare(condition: &Condition) -> Vec<Step> {
    use Target::{Fails, Holds, Next};
    let low = 16 + condition.index * 8;
    let high = low + 4;
    let (value_high, value_low) = ((condition.value >> 32) as u32, condition.value as u32);
    let load = |offset| Step {
        instruction: statement(LOAD, offset),
        yes: Next,
        no: Next,
    };
    let and = |mask| Step {
        instruction: statement(AND, mask),
        yes: Next,
        no: Next,
    };
    let test = |code, k, yes, no| Step {
        instruction: statement(code, k),
        yes,
        no,
    };
    let ordered = |code, yes, no, above, below| {
        vec![
            load(high),
            test(JUMP_GREATER, value_high, above, Next),
            test(JUMP_EQUAL, value_high, Next, below),
            load(low),
            test(code, value_low, yes, no),
        ]
    };
    match condition.compare {
        Compare::Equal => vec![
            load(high),
            test(JUMP_EQUAL, value_high, Next, Fails),
            load(low),
            test(JUMP_EQUAL, value_low, Holds, Fails),
        ],
        Compare::NotEqual => vec![
            load(high),
            test(JUMP_EQUAL, value_high, Next, Holds),
            load(low),
            test(JUMP_EQUAL, value_low, Fails, Holds),
        ],
        Compare::Masked(mask) => vec![
            load(high),
            and((mask >> 32) as u32),
            test(JUMP_EQUAL, value_high, Next, Fails),
            load(low),
            and(mask as u32),
            test(JUMP_EQUAL, value_low, Holds, Fails),
        ],
        Compare::Greater => ordered(JUMP_GREATER, Holds, Fails, Holds, Fails),
        Compare::GreaterOrEqual => ordered(JUMP_GREATER_OR_EQUAL, Holds, Fails, Holds, Fails),
        Compare::Less => ordered(JUMP_GREATER_OR_EQUAL, Fails, Holds, Fails, Holds),
        Compare::LessOrEqual => ordered(JUMP_GREATER, Fails, Holds, Fails, Holds),
    }
}

/// A binary search over the ranges: some nine comparisons instead of hundreds.
fn search(ranges: &[Range], program: &mut Vec<Instruction>) {
    match ranges {
        [] => {}
        [only] => program.extend(&only.code),
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let place = program.len();
            program.push(jump(JUMP_GREATER_OR_EQUAL, above[0].first, 0, 1));
            program.push(statement(JUMP, 0));
            search(below, program);
            // A conditional jump reaches 255 instructions, this one any number.
            program[place + 1].k = (program.len() - place - 2) as u32;
            search(above, program);
        }
    }
}

#[cfg(test)]
mod tests;
