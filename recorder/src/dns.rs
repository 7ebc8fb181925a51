//! Reads the beginning of a DNS message: header and first question (RFC 1035 §4.1).
//!
//! The bytes are a container's, or from the network: anything can stand there. What is no DNS becomes
//! an event all the same, marked as malformed: data that goes to port 53 and is no DNS is worth knowing.

use trace_format::event::Dns;

const HEADER_BYTES: usize = 12;
/// Longest name on the wire (RFC 1035 §2.3.4); each of its bytes is written with four characters at most.
const NAME_BYTES_MAX: usize = 255;
/// Longest label; a larger length octet is a pointer or of a kind that was never used.
const LABEL_BYTES_MAX: usize = 63;

/// Fills in what the message says.
pub fn read(bytes: &[u8], dns: &mut Dns) {
    dns.malformed = read_parts(bytes, dns).is_none();
}

fn read_parts(bytes: &[u8], dns: &mut Dns) -> Option<()> {
    let header = bytes.get(..HEADER_BYTES)?;
    dns.id = word(header, 0)?;
    dns.flags = word(header, 2)?;
    let questions = word(header, 4)?;
    dns.answers = word(header, 6)?;
    if questions == 0 {
        // An update, a keep-alive, or an answer that repeats no question.
        return Some(());
    }
    let mut at = HEADER_BYTES;
    let mut name = Vec::new();
    let mut whole = None;
    while at - HEADER_BYTES < NAME_BYTES_MAX {
        let Some(&len) = bytes.get(at) else { break };
        let len = usize::from(len);
        at += 1;
        if len == 0 {
            whole = word(bytes, at);
            break;
        }
        if len > LABEL_BYTES_MAX {
            break; // in a first question there is nothing yet to point to
        }
        let Some(label) = bytes.get(at..at + len) else {
            break;
        };
        at += len;
        if !name.is_empty() {
            name.push(b'.');
        }
        for &byte in label {
            if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
                name.push(byte);
            } else {
                name.extend_from_slice(format!("\\{byte:03}").as_bytes());
            }
        }
    }
    dns.name = name.into();
    dns.qtype = whole?;
    Some(())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u16, questions: u16, rest: &[u8]) -> Vec<u8> {
        let words = [0x1234, flags, questions, 2, 0, 0];
        let header = words.iter().flat_map(|word: &u16| word.to_be_bytes());
        header.chain(rest.iter().copied()).collect()
    }

    fn parsed(bytes: &[u8]) -> Dns {
        let mut dns = Dns::default();
        read(bytes, &mut dns);
        dns
    }

    #[test]
    fn a_question_and_its_answer_are_read() {
        let rest = b"\x03www\x07example\x03org\0\0\x1c\0\x01";
        let asked = parsed(&message(0x0100, 1, rest));
        assert_eq!(asked.name.to_vec(), b"www.example.org");
        assert_eq!(
            (asked.id, asked.qtype, asked.malformed),
            (0x1234, 28, false)
        );
        assert!(!asked.is_answer());
        let answer = parsed(&message(0x8183, 1, rest));
        assert!(answer.is_answer());
        assert_eq!((answer.rcode(), answer.answers), (3, 2));
    }

    #[test]
    fn a_name_cannot_pass_for_another() {
        let odd = parsed(&message(0x0100, 1, b"\x05a.b\\\n\0\0\x01\0\x01"));
        assert_eq!(odd.name.to_vec(), br"a\046b\092\010");
        let root = parsed(&message(0x0100, 1, b"\0\0\x02\0\x01"));
        assert!(root.name.is_empty() && !root.malformed);
        assert_eq!(root.qtype, 2);
    }

    #[test]
    fn what_is_no_dns_is_marked_and_never_a_panic() {
        for bytes in [&b""[..], b"exfiltrated", &[0xff; 40], &[63; 400]] {
            assert!(parsed(bytes).malformed, "{bytes:?}");
        }
        let pointer = message(0x0100, 1, b"\x03www\xc0\x0c\0\x01\0\x01");
        let seen = parsed(&pointer);
        assert!(seen.malformed);
        assert_eq!(seen.name.to_vec(), b"www");
        let whole = message(0x0100, 1, b"\x03www\0\0\x01\0\x01");
        for cut in 0..whole.len() {
            let seen = parsed(&whole[..cut]);
            // Nobody needs the class.
            assert_eq!(seen.malformed, cut < whole.len() - 2, "cut at {cut}");
        }
    }

    #[test]
    fn any_bytes_are_read() {
        let mut state = 1u64;
        for len in 0..2_000usize {
            let bytes: Vec<u8> = (0..len % 300)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            assert!(parsed(&bytes).name.len() <= 4 * NAME_BYTES_MAX);
        }
    }
}
