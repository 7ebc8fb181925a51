//! Promise: the probe object in the repository was built from the probe sources in the repository.
//! Without it, `rec` could ship a program that nobody can read, or a fix that never reached a kernel.

mod source_hash;

use std::path::Path;

fn object(package: &Path) -> Vec<u8> {
    let packed = std::fs::read(package.join("prebuilt/recorder.bpf.o.zst"))
        .expect("prebuilt/recorder.bpf.o.zst is missing: run `cargo xtask ebpf`");
    zstd::decode_all(&packed[..]).expect("prebuilt/recorder.bpf.o.zst is whole")
}

#[test]
fn prebuilt_object_was_built_from_these_sources() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stored = std::fs::read_to_string(package.join("prebuilt/SOURCE.b3"))
        .expect("prebuilt/SOURCE.b3 is missing: run `cargo xtask ebpf`");
    let current = source_hash::source_hash(package).expect("the probe sources can be read");
    assert_eq!(
        stored.lines().next(),
        Some(current.as_str()),
        "the probe sources changed after prebuilt/recorder.bpf.o.zst was built: run `cargo xtask ebpf`"
    );
}

/// The second line of SOURCE.b3 is the object's own hash: a hash file without its object, or with
/// another one (a merge that took one side of each), fails here.
#[test]
fn prebuilt_object_is_the_one_that_was_built() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stored = std::fs::read_to_string(package.join("prebuilt/SOURCE.b3"))
        .expect("prebuilt/SOURCE.b3 is missing: run `cargo xtask ebpf`");
    let object = object(package);
    assert_eq!(
        stored.lines().nth(1),
        Some(blake3::hash(&object).to_hex().as_str()),
        "prebuilt/recorder.bpf.o.zst is not the object that SOURCE.b3 describes: run `cargo xtask ebpf`"
    );
}

/// What the kernel refuses or `rec` cannot use, seen without a kernel: another machine, no type
/// information, no licence the kernel lets call its helpers.
#[test]
fn prebuilt_object_is_an_ebpf_object_with_type_information() {
    const ELF_MACHINE_AT: usize = 18;
    const EM_BPF: u16 = 247;
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let object = object(package);
    assert_eq!(&object[..4], b"\x7fELF");
    assert_eq!(
        object[ELF_MACHINE_AT..ELF_MACHINE_AT + 2],
        EM_BPF.to_le_bytes()
    );
    let holds = |needle: &[u8]| object.windows(needle.len()).any(|window| window == needle);
    assert!(
        holds(b".BTF\0"),
        "no .BTF section: was it linked with --btf?"
    );
    assert!(
        holds(b".BTF.ext\0"),
        "no .BTF.ext section: was it linked with --btf?"
    );
    assert!(
        holds(b"Dual MIT/GPL\0"),
        "no GPL-compatible licence: the kernel refuses its helpers"
    );
}
