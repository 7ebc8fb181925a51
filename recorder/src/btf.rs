//! Offsets of kernel structure members, from BTF: what CO-RE does for C, done in user space.
//!
//! Rust emits no field relocations, so the probes get the offsets as read-only globals. Only the
//! parts of BTF that lead from a structure's name to a member are read here; format:
//! Documentation/bpf/btf.rst. (Crates that do this are LGPL, or keep their types private.)

use std::path::{Path, PathBuf};

use hashbrown::HashMap;

/// Where a kernel with `CONFIG_DEBUG_INFO_BTF` keeps its own.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// vmlinux BTF is 4–10 MB; more is not BTF.
const BTF_BYTES_MAX: u64 = 64 << 20;
/// Of the functions only those are kept that programs can call.
const HELPERS: &[u8] = b"bpf_";
/// Of the typedefs those of tracepoints.
const TRACEPOINTS: &[u8] = b"btf_trace_";
/// The enumeration whose values are kept: places of cgroup controllers in `css_set.subsys`.
const CONTROLLERS: &[u8] = b"cgroup_subsys_id";
/// The data section of variables of which each CPU has its own.
const PER_CPU: &[u8] = b".data..percpu";
/// Structures inside structures without a name, at most this deep.
const NESTING_MAX: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot read kernel type information (BTF) from {path}; --btf FILE names a file that has it"
    )]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} holds no usable BTF: {what} at byte {offset}")]
    Format {
        path: PathBuf,
        what: &'static str,
        offset: usize,
    },
}

/// Named structures and unions with their members.
pub struct Btf {
    bytes: Vec<u8>,
    types_at: usize,
    strings_at: usize,
    /// Byte offset of each type's record, by id − 1.
    records: Vec<usize>,
    structs: HashMap<Vec<u8>, u32>,
    /// What programs can call, by name: the type's number.
    functions: HashMap<Vec<u8>, u32>,
    /// Types of tracepoints: typedefs of pointers to functions.
    tracepoints: HashMap<Vec<u8>, u32>,
    /// Values of [`CONTROLLERS`], by name.
    controllers: HashMap<Vec<u8>, u32>,
    /// Places of variables in [`PER_CPU`], by name.
    per_cpu: HashMap<Vec<u8>, u32>,
}

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_PROTOTYPE: u32 = 13;
const KIND_FUNCTION: u32 = 12;
const KIND_VARIABLE: u32 = 14;
const KIND_SECTION: u32 = 15;

impl Btf {
    /// Reads a BTF file (raw, as in /sys/kernel/btf).
    pub fn load(path: &Path) -> Result<Btf, Error> {
        let read = |source| Error::Read {
            path: path.into(),
            source,
        };
        let file = std::fs::File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, BTF_BYTES_MAX), &mut bytes)
            .map_err(read)?;
        Btf::parse(bytes).map_err(|(what, offset)| Error::Format {
            path: path.into(),
            what,
            offset,
        })
    }

    fn parse(bytes: Vec<u8>) -> Result<Btf, (&'static str, usize)> {
        let word = |at: usize| u32_at(&bytes, at).ok_or(("the file ends", at));
        if word(0)? & 0xffff != 0xeb9f {
            return Err(("no BTF magic number", 0));
        }
        let header_len = word(4)? as usize;
        let at = |offset: u32| {
            header_len
                .checked_add(offset as usize)
                .ok_or(("an offset overflows", 8))
        };
        let types_at = at(word(8)?)?;
        let types_end = types_at.saturating_add(word(12)? as usize).min(bytes.len());
        let strings_at = at(word(16)?)?;
        let (mut records, mut structs) = (Vec::new(), HashMap::new());
        let (mut functions, mut tracepoints) = (HashMap::new(), HashMap::new());
        let (mut controllers, mut per_cpu) = (HashMap::new(), HashMap::new());
        let mut next = types_at;
        while next + 12 <= types_end {
            let (name, info) = (word(next)?, word(next + 4)?);
            records.push(next);
            let (kind, len) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            if kind == KIND_STRUCT || kind == KIND_UNION {
                let name = text_at(&bytes, strings_at + name as usize);
                if !name.is_empty() {
                    // The first definition wins: later ones are a driver's private namesakes.
                    structs.entry(name.to_vec()).or_insert(records.len() as u32);
                }
            }
            if kind == KIND_TYPEDEF {
                let name = text_at(&bytes, strings_at + name as usize);
                if name.starts_with(TRACEPOINTS) {
                    tracepoints.insert(name.to_vec(), word(next + 8)?);
                }
            }
            if kind == KIND_ENUM && text_at(&bytes, strings_at + name as usize) == CONTROLLERS {
                for at in (next + 12..).step_by(8).take(len) {
                    let name = text_at(&bytes, strings_at + word(at)? as usize);
                    controllers.insert(name.to_vec(), word(at + 4)?);
                }
            }
            if kind == KIND_FUNCTION {
                let name = text_at(&bytes, strings_at + name as usize);
                if name.starts_with(HELPERS) {
                    functions.insert(name.to_vec(), records.len() as u32);
                }
            }
            if kind == KIND_SECTION && text_at(&bytes, strings_at + name as usize) == PER_CPU {
                for at in (next + 12..).step_by(12).take(len) {
                    // Nobody needs one of them: what is not there yet is left out.
                    let index = (word(at)? as usize).checked_sub(1);
                    if let Some(&variable) = index.and_then(|index| records.get(index)) {
                        let name = text_at(&bytes, strings_at + word(variable)? as usize);
                        per_cpu.insert(name.to_vec(), word(at + 4)?);
                    }
                }
            }
            let tail = match kind {
                1 | KIND_VARIABLE | 17 => 4, // int, decl tag
                2 | 7..=12 | 16 | 18 => 0, // pointer, forward, typedef, qualifiers, func, float, type tag
                3 => 12,                   // array
                KIND_STRUCT | KIND_UNION => 12 * len,
                KIND_ENUM => 8 * len,
                13 => 8 * len, // function prototype
                KIND_SECTION => 12 * len,
                19 => 12 * len, // 64-bit enum
                _ => return Err(("an unknown kind of type", next)),
            };
            next += 12 + tail;
        }
        Ok(Btf {
            types_at,
            strings_at,
            records,
            structs,
            functions,
            tracepoints,
            controllers,
            per_cpu,
            bytes,
        })
    }

    /// Has the kernel the eBPF helper `name` (`bpf_…`)?
    pub fn has_helper(&self, name: &str) -> bool {
        self.functions.contains_key(name.as_bytes())
    }

    /// The number of a function of the kernel (`bpf_…`) that programs call by it.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name.as_bytes()).copied()
    }

    /// The number of the structure `name`.
    pub fn structure(&self, name: &str) -> Option<u32> {
        self.structs.get(name.as_bytes()).copied()
    }

    /// Where `css_set.subsys` has the state of a cgroup controller, by the name that /proc/cgroups has.
    pub fn controller(&self, name: &str) -> Option<u32> {
        // The only one whose name in the kernel is another.
        let name = if name == "blkio" { "io" } else { name };
        self.controllers
            .get(format!("{name}_cgrp_id").as_bytes())
            .copied()
    }

    /// Where a CPU's own variables have `name`, counted from where they begin.
    pub fn per_cpu(&self, name: &str) -> Option<u32> {
        self.per_cpu.get(name.as_bytes()).copied()
    }

    /// How many parameters the tracepoint type `name` (`btf_trace_…`) has, the first being its own.
    pub fn parameters(&self, name: &str) -> Option<u32> {
        let pointer = self.record(*self.tracepoints.get(name.as_bytes())?)?;
        let prototype = self.record(u32_at(&self.bytes, pointer + 8)?)?;
        let info = u32_at(&self.bytes, prototype + 4)?;
        ((info >> 24) & 0x1f == KIND_PROTOTYPE).then_some(info & 0xffff)
    }

    fn record(&self, id: u32) -> Option<usize> {
        self.records.get((id as usize).checked_sub(1)?).copied()
    }

    /// Byte offset of `path` ("member" or "member.inner"; "new|old" is the first of these that is
    /// there) in the structure `name`, also through unnamed inner structures; None if there is no
    /// such member or it is a bit field. `*`: the structure's size.
    pub fn offset(&self, name: &str, path: &str) -> Option<u32> {
        path.split('|').find_map(|path| self.one_offset(name, path))
    }

    fn one_offset(&self, name: &str, path: &str) -> Option<u32> {
        let mut id = *self.structs.get(name.as_bytes())?;
        let mut offset = 0;
        if path == "*" {
            return u32_at(&self.bytes, self.record(id)? + 8);
        }
        for member in path.split('.') {
            let (at, inner) = self.member(id, member.as_bytes(), 0)?;
            offset += at;
            id = inner;
        }
        Some(offset)
    }

    fn member(&self, id: u32, wanted: &[u8], depth: u32) -> Option<(u32, u32)> {
        if depth > NESTING_MAX {
            return None;
        }
        let record = *self.records.get(self.resolve(id)? as usize - 1)?;
        let info = u32_at(&self.bytes, record + 4)?;
        if !matches!((info >> 24) & 0x1f, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let has_bit_fields = info >> 31 == 1;
        for index in 0..(info & 0xffff) as usize {
            let at = record + 12 + index * 12;
            let (name, inner, raw) = (
                u32_at(&self.bytes, at)?,
                u32_at(&self.bytes, at + 4)?,
                u32_at(&self.bytes, at + 8)?,
            );
            let (bits, width) = if has_bit_fields {
                (raw & 0xff_ffff, raw >> 24)
            } else {
                (raw, 0)
            };
            if name == 0 {
                if let Some((offset, id)) = self.member(inner, wanted, depth + 1) {
                    return Some((bits / 8 + offset, id));
                }
            } else if text_at(&self.bytes, self.strings_at + name as usize) == wanted {
                return (width == 0 && bits % 8 == 0).then_some((bits / 8, inner));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..NESTING_MAX {
            let record = *self.records.get((id as usize).checked_sub(1)?)?;
            match (u32_at(&self.bytes, record + 4)? >> 24) & 0x1f {
                8..=11 | 18 => id = u32_at(&self.bytes, record + 8)?,
                _ => return Some(id),
            }
        }
        None
    }

    /// Types that the file defines.
    pub fn types(&self) -> usize {
        debug_assert!(self.types_at <= self.bytes.len());
        self.records.len()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn text_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    &rest[..rest.iter().position(|&byte| byte == 0).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_the_running_kernel_are_found() {
        let path = Path::new(KERNEL_BTF);
        if !path.exists() {
            eprintln!("skipped: this kernel has no {KERNEL_BTF}");
            return;
        }
        let btf = Btf::load(path).unwrap();
        assert!(btf.types() > 10_000);
        assert_eq!(btf.offset("list_head", "prev"), Some(8));
        assert_eq!(btf.offset("path", "dentry"), Some(8));
        assert!(
            btf.offset("sock_common", "skc_daddr").is_some(),
            "a member of an unnamed union"
        );
        assert!(
            btf.offset("dentry", "d_name.name").is_some(),
            "a member of a member"
        );
        assert_eq!(btf.offset("list_head", "absent"), None);
        assert_eq!(btf.offset("list_head", "*"), Some(16));
        assert_eq!(btf.offset("list_head", "absent|prev|next"), Some(8));
        assert!(btf.has_helper("bpf_get_current_task"));
        assert!(!btf.has_helper("bpf_no_such_helper"));
        assert_eq!(btf.function("bpf_no_such_function"), None);
        assert!(btf.structure("pt_regs").is_some());
        assert_eq!(btf.structure("no_such_struct"), None);
        assert_eq!(btf.parameters("btf_trace_sys_exit"), Some(3));
        assert_eq!(btf.parameters("btf_trace_no_such_tracepoint"), None);
        assert_eq!(btf.per_cpu("no_such_variable"), None);
        assert_eq!(btf.controller("cpuset"), Some(0), "always the first one");
        assert!(btf.controller("memory").is_some());
        assert_eq!(btf.controller("no_such_controller"), None);
        assert_eq!(btf.offset("no_such_struct", "next"), None);
    }

    #[test]
    fn damaged_input_is_an_error_and_never_a_panic() {
        let path = Path::new(KERNEL_BTF);
        assert!(Btf::parse(Vec::new()).is_err());
        assert!(Btf::parse(vec![0; 64]).is_err());
        let Ok(whole) = std::fs::read(path) else {
            eprintln!("skipped: this kernel has no {KERNEL_BTF}");
            return;
        };
        for cut in (0..4096).chain((4096..whole.len()).step_by(whole.len() / 97)) {
            if let Ok(btf) = Btf::parse(whole[..cut].to_vec()) {
                let _ = btf.offset("task_struct", "pid");
            }
        }
    }
}
