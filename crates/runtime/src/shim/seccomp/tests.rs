//! Profiles compiled to filters, and the filters run against system calls.

use super::*;

/// Runs a program as the kernel would.
fn run(program: &[u8], number: u32, machine: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(machine.to_ne_bytes());
    data.extend(0_u64.to_ne_bytes());
    for arg in args {
        data.extend(arg.to_ne_bytes());
    }
    let word = |at: usize| u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
    let mut accumulator = 0;
    let mut pc = 0;
    loop {
        let i = &program[pc * 8..pc * 8 + 8];
        let code = u16::from_ne_bytes([i[0], i[1]]);
        let k = u32::from_ne_bytes(i[4..].try_into().unwrap());
        pc += 1;
        let branch = |yes: bool| usize::from(if yes { i[2] } else { i[3] });
        match code {
            LOAD => accumulator = word(k as usize),
            AND => accumulator &= k,
            JUMP => pc += k as usize,
            JUMP_EQUAL => pc += branch(accumulator == k),
            JUMP_GREATER => pc += branch(accumulator > k),
            JUMP_GREATER_OR_EQUAL => pc += branch(accumulator >= k),
            RETURN => return k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

fn none() -> Circumstances {
    Circumstances {
        capabilities: 0,
        kernel: (6, 1),
    }
}

#[test]
fn comparisons_hold_for_64_bits() {
    const BIG: u64 = 5 << 32 | 7;
    let cases: [(Compare, &[(u64, bool)]); 7] = [
        (Compare::Equal, &[(BIG, true), (7, false), (5 << 32, false)]),
        (
            Compare::NotEqual,
            &[(BIG, false), (7, true), (5 << 32 | 8, true)],
        ),
        (
            Compare::Less,
            &[
                (BIG, false),
                (BIG - 1, true),
                (4 << 32 | 9, true),
                (6 << 32, false),
            ],
        ),
        (
            Compare::LessOrEqual,
            &[(BIG, true), (BIG + 1, false), (6 << 32, false), (1, true)],
        ),
        (
            Compare::Greater,
            &[(BIG, false), (BIG + 1, true), (6 << 32, true), (9, false)],
        ),
        (
            Compare::GreaterOrEqual,
            &[(BIG, true), (BIG - 1, false), (6 << 32, true)],
        ),
        (
            Compare::Masked(0xff_0000_00ff),
            &[(BIG, true), (BIG | 0xff00, true), (BIG | 8, false)],
        ),
    ];
    for (compare, values) in cases {
        let condition = Condition {
            index: 2,
            compare,
            value: BIG,
        };
        let policy = Policy {
            default: Action::Errno(1),
            rules: vec![(42, vec![condition], Action::Allow)],
        };
        let program = compile(&policy).unwrap();
        for (value, holds) in values {
            let got = run(&program, 42, MACHINE, [0, 0, *value, 0, 0, 0]);
            assert_eq!(got == ALLOW, *holds, "{compare:?} {value:#x}");
        }
        assert_eq!(run(&program, 41, MACHINE, [0; 6]), EPERM);
        assert_eq!(run(&program, 43, MACHINE, [0; 6]), EPERM);
    }
}

#[test]
fn every_number_finds_its_own_rule() {
    let allowed = [0, 1, 2, 5, 6, 9, 77, 300, 301, 450];
    let policy = Policy {
        default: Action::Errno(1),
        rules: allowed
            .iter()
            .map(|n| (*n, Vec::new(), Action::Allow))
            .collect(),
    };
    let program = compile(&policy).unwrap();
    for number in 0..600 {
        let expected = if allowed.contains(&number) {
            ALLOW
        } else {
            EPERM
        };
        assert_eq!(run(&program, number, MACHINE, [0; 6]), expected, "{number}");
    }
    assert_eq!(run(&program, 1, 0x4000_0003, [0; 6]), 0x8000_0000);
}

#[test]
fn the_default_profile_blocks_what_containers_must_not_do() {
    let program = |capabilities| {
        let now = Circumstances {
            capabilities,
            kernel: (6, 1),
        };
        compile(&default_profile().resolve(&now).unwrap()).unwrap()
    };
    let plain = program(0);
    let number = |name| syscalls::number(name).unwrap();
    let call =
        |program: &[u8], name, first| run(program, number(name), MACHINE, [first, 0, 0, 0, 0, 0]);
    for name in [
        "read",
        "execve",
        "openat",
        "capset",
        "setgroups",
        "clone3",
        "futex",
        "exit_group",
    ] {
        let expected = if name == "clone3" {
            0x0005_0000 | 38
        } else {
            ALLOW
        };
        assert_eq!(call(&plain, name, 0), expected, "{name}");
    }
    for name in [
        "mount",
        "umount2",
        "bpf",
        "init_module",
        "reboot",
        "setns",
        "unshare",
        "keyctl",
        "kexec_load",
    ] {
        assert_eq!(call(&plain, name, 0), EPERM, "{name}");
    }
    assert_eq!(call(&plain, "clone", libc::CLONE_NEWUSER as u64), EPERM);
    assert_eq!(call(&plain, "clone", libc::SIGCHLD as u64), ALLOW);
    assert_eq!(call(&plain, "personality", 0), ALLOW);
    assert_eq!(call(&plain, "personality", 1), EPERM);
    assert_eq!(call(&plain, "socket", libc::AF_VSOCK as u64), EPERM);
    assert_eq!(call(&plain, "socket", libc::AF_INET as u64), ALLOW);
    // With CAP_SYS_ADMIN (21) mounting is the container's business.
    let admin = program(1 << 21);
    assert_eq!(call(&admin, "mount", 0), ALLOW);
    assert_eq!(call(&admin, "clone3", 0), ALLOW);
    assert_eq!(call(&admin, "bpf", 0), ALLOW);
    assert_eq!(call(&admin, "reboot", 0), EPERM);
}

#[test]
fn profiles_of_files_are_understood() {
    let text = br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
        {"names":["kill"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":9,"op":"SCMP_CMP_EQ"}]},
        {"names":["no_such"],"action":"SCMP_ACT_LOG"}]}"#;
    let policy = Profile::parse(text).unwrap().resolve(&none()).unwrap();
    let program = compile(&policy).unwrap();
    let number = |name| syscalls::number(name).unwrap();
    assert_eq!(
        run(&program, number("mkdirat"), MACHINE, [0; 6]),
        0x0005_000d
    );
    assert_eq!(
        run(&program, number("kill"), MACHINE, [1, 9, 0, 0, 0, 0]),
        0x8000_0000
    );
    assert_eq!(
        run(&program, number("kill"), MACHINE, [1, 8, 0, 0, 0, 0]),
        ALLOW
    );
    assert!(Profile::parse(b"{}").is_err());
    let bad = br#"{"defaultAction":"SCMP_ACT_NONSENSE"}"#;
    assert!(Profile::parse(bad).unwrap().resolve(&none()).is_err());
}
