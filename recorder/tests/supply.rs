//! Promise: `replay rules explain` says of a system call from which profile on it is recorded, and the
//! recorder's policy does just that. Whoever changes the policy changes `replay/src/rules/supply.rs` too.

#![cfg(feature = "detect")]

use recorder::policy::{Profile, table};
use recorder_ebpf::{IoShape, action};
use replay::rules::{Profile as Least, recorded_from};
use trace_format::syscalls::{Arch, name};

#[test]
fn explained_profiles_are_the_policys() {
    let tables = [
        (
            Least::Light,
            table(Profile::Light, Arch::X86_64, false, &[]),
        ),
        (
            Least::Standard,
            table(Profile::Standard, Arch::X86_64, false, &[]),
        ),
        (Least::Full, table(Profile::Full, Arch::X86_64, true, &[])),
    ];
    // Reads and writes become events of their own, and of opens only those of listed files do.
    let counted = [
        action::COUNT,
        action::IO,
        action::CLOSE,
        action::OPEN_LISTED,
    ];
    let mut compared = 0;
    for nr in 0..tables[0].1.len() {
        let Some(name) = name(Arch::X86_64, nr as u32).filter(|name| *name != "clone") else {
            continue;
        };
        let recorded = tables
            .iter()
            .find(|table| {
                let policy = table.1[nr];
                let action = policy & action::MASK;
                let each = action == action::IO && IoShape::unpack(policy).record
                    || action == action::CLOSE && policy >> action::ARITY_SHIFT != 0;
                each || !counted.contains(&action)
            })
            .map(|table| table.0);
        assert_eq!(
            recorded,
            Some(recorded_from(name)),
            "{name}: replay/src/rules/supply.rs and recorder/src/policy.rs differ"
        );
        compared += 1;
    }
    assert!(compared > 300, "{compared}");
}
