//! What the container may do: some acts are harmless only where it is refused.

use std::fs;

use super::ActError;

/// `include/uapi/linux/capability.h`.
const HARMFUL: [(&str, u32); 5] = [
    ("CAP_SYS_MODULE", 16),
    ("CAP_SYS_RAWIO", 17),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_BOOT", 22),
    ("CAP_BPF", 39),
];

/// Refuses where the kernel would not.
pub fn refuse_powerful() -> Result<(), ActError> {
    const PATH: &str = "/proc/self/status";
    let status = fs::read_to_string(PATH).map_err(ActError::io("read", PATH))?;
    match held(&status) {
        None => Err(ActError::Missing {
            what: "capability sets in /proc/self/status",
        }),
        Some(held) => match HARMFUL.iter().find(|(_, bit)| held >> bit & 1 == 1) {
            Some((capability, _)) => Err(ActError::TooPowerful { capability }),
            None => Ok(()),
        },
    }
}

/// Effective or permitted.
fn held(status: &str) -> Option<u64> {
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    Some(set("CapEff:")? | set("CapPrm:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permitted_ones_count_too() {
        let text = |permitted: &str| format!("CapPrm:\t{permitted}\nCapEff:\t0000000000000000\n");
        assert_eq!(held(&text("0000000000010000")), Some(1 << 16));
        assert_eq!(held(&text("0")), Some(0));
        assert_eq!(held("Name:\tx\n"), None);
    }
}
