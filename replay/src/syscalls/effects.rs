//! What a plain system call changes in a process: its descriptors, its directory, its user.

use super::{Arch, NUMBERS, Row, row_named};

/// The effect of a successful call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Argument 0 is closed.
    Close,
    /// The result is another name for the descriptor in argument 0.
    Duplicate,
    /// fcntl: the command in argument 1 decides.
    Control,
    /// The result is a new descriptor, of the kind rules know by this letter.
    Makes(u8),
    /// The directory in argument 0 becomes the current one.
    ChangeDirectory,
    /// The root is another one.
    ChangeRoot,
    /// A process group and a terminal of its own: none.
    Leads,
    /// Capabilities from memory that nobody read.
    Rights,
    /// Namespaces of its own, by the flags in argument 0.
    LeaveNamespaces,
    /// setns: the kind of namespace in argument 1 decides.
    EnterNamespace,
    /// This argument becomes the effective user or group; -1 leaves it.
    User(u8),
    Group(u8),
}

const EFFECTS: &[(&str, Effect)] = &[
    ("close", Effect::Close),
    ("dup", Effect::Duplicate),
    ("dup2", Effect::Duplicate),
    ("dup3", Effect::Duplicate),
    ("fcntl", Effect::Control),
    ("fchdir", Effect::ChangeDirectory),
    ("pivot_root", Effect::ChangeRoot),
    ("chroot", Effect::ChangeRoot),
    ("setns", Effect::EnterNamespace),
    ("unshare", Effect::LeaveNamespaces),
    ("setsid", Effect::Leads),
    ("capset", Effect::Rights),
    ("bpf", Effect::Makes(b'b')),
    ("epoll_create", Effect::Makes(b'l')),
    ("epoll_create1", Effect::Makes(b'l')),
    ("eventfd", Effect::Makes(b'e')),
    ("eventfd2", Effect::Makes(b'e')),
    ("inotify_init", Effect::Makes(b'i')),
    ("inotify_init1", Effect::Makes(b'i')),
    ("io_uring_setup", Effect::Makes(b'r')),
    ("memfd_create", Effect::Makes(b'm')),
    ("perf_event_open", Effect::Makes(b'X')),
    ("pidfd_open", Effect::Makes(b'P')),
    ("signalfd", Effect::Makes(b's')),
    ("signalfd4", Effect::Makes(b's')),
    ("timerfd_create", Effect::Makes(b't')),
    ("userfaultfd", Effect::Makes(b'U')),
    ("setuid", Effect::User(0)),
    ("setreuid", Effect::User(1)),
    ("setresuid", Effect::User(1)),
    ("setgid", Effect::Group(0)),
    ("setregid", Effect::Group(1)),
    ("setresgid", Effect::Group(1)),
];

/// The effects by number, for one architecture.
pub struct Effects {
    arch: Arch,
    by_number: [Effect; NUMBERS],
}

impl Effects {
    pub fn new(arch: Arch) -> Self {
        let mut by_number = [Effect::None; NUMBERS];
        for &(name, effect) in EFFECTS {
            if let Some(number) = row_named(name).and_then(|row| row.number(arch)) {
                by_number[number as usize] = effect;
            }
        }
        Effects { arch, by_number }
    }

    pub fn arch(&self) -> Arch {
        self.arch
    }

    #[inline]
    pub fn of(&self, number: u32) -> Effect {
        self.by_number
            .get(number as usize)
            .copied()
            .unwrap_or(Effect::None)
    }

    pub fn name(&self, number: u32) -> Option<&'static str> {
        super::row(self.arch, number).map(Row::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_effect_names_a_call_and_follows_the_architecture() {
        for (name, effect) in EFFECTS {
            let row = row_named(name).unwrap_or_else(|| panic!("{name} is not a system call"));
            for arch in [Arch::X86_64, Arch::Aarch64] {
                if let Some(number) = row.number(arch) {
                    assert_eq!(
                        Effects::new(arch).of(number),
                        *effect,
                        "{name} on {}",
                        arch.name()
                    );
                }
            }
        }
        assert_eq!(Effects::new(Arch::X86_64).of(u32::MAX), Effect::None);
    }
}
