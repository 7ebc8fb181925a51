//! Calls of a kernel function in the object of the probes, put in before it is loaded: aya knows calls of
//! helpers only.

use recorder_ebpf::PLAIN_WORDS_CALL;

/// Bytes of an instruction; sections of instructions begin at a multiple of it.
const INSTRUCTION: usize = 8;
/// A call of a helper (Documentation/bpf/standardization/instruction-set.rst): the operation, then registers and
/// an offset that it does not use; its number follows.
const CALL: [u8; 4] = [0x85, 0, 0, 0];
/// The same of a function of the kernel; the number is that of its BTF type.
const CALL_KERNEL: [u8; 4] = [0x85, 0x20, 0, 0];
/// `r0 = r1`.
const MOVE: [u8; INSTRUCTION] = [0xbf, 0x10, 0, 0, 0, 0, 0, 0];

/// Makes each [`PLAIN_WORDS_CALL`] a call of the kernel's `bpf_rdonly_cast`, whose BTF type is `function`, or
/// a move where there is none (then nothing gets there). Returns how many there were.
pub fn put(object: &mut [u8], function: Option<u32>) -> usize {
    let mut casts = 0;
    for instruction in object.as_chunks_mut::<INSTRUCTION>().0 {
        if instruction[..4] == CALL && instruction[4..] == PLAIN_WORDS_CALL.to_le_bytes() {
            casts += 1;
            *instruction = MOVE;
            if let Some(function) = function {
                instruction[..4].copy_from_slice(&CALL_KERNEL);
                instruction[4..].copy_from_slice(&function.to_le_bytes());
            }
        }
    }
    casts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::own_object;

    #[test]
    fn every_cast_of_the_object_is_replaced_and_nothing_else() {
        let object = own_object();
        let mut with = object.clone();
        let casts = put(&mut with, Some(0x0102_0304));
        assert!(casts > 0);
        let changed: Vec<usize> = (0..with.len())
            .filter(|&at| with[at] != object[at])
            .collect();
        assert!(changed.len() <= casts * 5, "{changed:?}");
        assert_eq!(put(&mut with, None), 0, "none is left");

        let mut without = object.clone();
        assert_eq!(put(&mut without, None), casts);
        let moves = |object: &[u8]| {
            object
                .as_chunks::<8>()
                .0
                .iter()
                .filter(|&&at| at == MOVE)
                .count()
        };
        assert_eq!(moves(&without), moves(&object) + casts);
    }
}
