//! A signature vouches for exactly what it says: every way of changing a signed trace that leaves its
//! hashes right is tried here, by somebody who can write any file and has every key but the right one.

mod support;

use std::sync::Arc;

use support::{forge::Forge, *};
use trace_format::*;

/// As OpenSSL wrote them, for these tests alone.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIFirFzlBlk8frY2fQXHWVRkUbTJB+CKX4DBAVpTRv4xW\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAG0a/z2vHIZsW+aTqfBpD4mgru9QlVIR96cjHfwYajiA=\n\
    -----END PUBLIC KEY-----\n";
const PUBLIC_HEX: &str = "1b46bfcf6bc7219b16f9a4ea7c1a43e2682bbbd42554847de9c8c77f061a8e20";
const OTHER_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJRHn9bvo1ysLJ6KUge9d9yCy7IuLJymgsrjEJpqXijw\n\
    -----END PRIVATE KEY-----\n";

const CHUNKS: u64 = 10;
/// Trace time between chunks: every third is signed.
const STEP_NS: u64 = 20_000_000_000;

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_pem(PEM).unwrap())
}

fn other_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_pem(OTHER_PEM).unwrap())
}

fn public() -> PublicKey {
    key().public_key()
}

/// `CHUNKS` chunks, one every `STEP_NS`; `tid` makes the content.
fn chunks(key: Option<Arc<SigningKey>>, tid: u32) -> Vec<SealedChunk> {
    let mut builder = ChunkBuilder::new(UUID, Limits::default());
    if let Some(key) = key {
        builder.sign_with(key);
    }
    (0..CHUNKS)
        .map(|chunk| {
            builder.push(read_call(chunk * STEP_NS, tid, chunk));
            builder.seal(chunk * STEP_NS)
        })
        .collect()
}

fn file(chunks: &[SealedChunk], key: Option<Arc<SigningKey>>) -> Vec<u8> {
    let mut writer = TraceWriter::new(Vec::new());
    if let Some(key) = key {
        writer.sign_with(key);
    }
    chunks.iter().for_each(|chunk| writer.write(chunk).unwrap());
    writer.finish().unwrap()
}

fn signed() -> Vec<u8> {
    file(&chunks(Some(key()), 1), Some(key()))
}

/// The reader's issues, and what the signatures say.
fn verify(bytes: &[u8], key: Option<PublicKey>) -> (Vec<Issue>, Authenticity) {
    let mut reader = TraceReader::from_read(std::io::Cursor::new(bytes.to_vec()));
    let mut verifier = Verifier::new(key);
    while let Some(chunk) = reader.next_chunk().unwrap() {
        let len = chunk.bytes.len() as u64;
        verifier.chunk(&chunk.header, reader.offset() - len, len);
    }
    let issues = reader.issues().to_vec();
    let summary = reader.summary().cloned();
    let result = verifier.finish(summary.as_ref(), issues.is_empty());
    (issues, result)
}

fn verified(bytes: &[u8]) -> bool {
    let (issues, result) = verify(bytes, Some(public()));
    issues.is_empty() && result.signed_to_end && result.vouched_chunks == CHUNKS && !result.forged()
}

/// The chunks again, with links, numbers and hashes made right after `change`; signatures as they were.
fn rehashed(chunks: &[SealedChunk], change: impl Fn(usize, &mut Forge)) -> Vec<SealedChunk> {
    let mut before = [0; 32];
    chunks
        .iter()
        .enumerate()
        .map(|(index, chunk)| {
            let mut forge = Forge::open(&chunk.bytes);
            forge.fixed[88..120].copy_from_slice(&before);
            change(index, &mut forge);
            let chunk = SealedChunk::from_bytes(forge.close()).unwrap();
            before = chunk.header.hash;
            chunk
        })
        .collect()
}

#[test]
fn a_signed_trace_is_verified_with_its_key_and_no_other() {
    let bytes = signed();
    assert!(verified(&bytes));
    let (issues, with_other) = verify(&bytes, Some(other_key().public_key()));
    assert_eq!(issues, []);
    assert!(with_other.forged() && !with_other.signed_to_end);
    assert_eq!(with_other.vouched_chunks, 0);
    assert!(with_other.forgeries[0].contains(PUBLIC_HEX));
    // Without a key the claim is named, and that is all.
    let (_, without) = verify(&bytes, None);
    assert_eq!(without.claimed_key, Some(public()));
    assert!(!without.forged());
}

#[test]
fn chunks_are_signed_every_minute_from_the_second_on() {
    let signed: Vec<u64> = chunks(Some(key()), 1)
        .iter()
        .filter(|chunk| chunk.header.signature.is_some())
        .map(|chunk| chunk.header.number)
        .collect();
    assert_eq!(signed, [1, 4, 7]);
}

#[test]
fn an_unsigned_trace_is_never_verified() {
    let bytes = file(&chunks(None, 1), None);
    let (issues, result) = verify(&bytes, Some(public()));
    assert_eq!((issues.len(), result.forged()), (0, false));
    assert_eq!((result.vouched_chunks, result.signed_to_end), (0, false));
    // Signed while it ran, but the end was written without the key.
    let bytes = file(&chunks(Some(key()), 1), None);
    let (_, result) = verify(&bytes, Some(public()));
    assert_eq!(result.vouched_through, Some((6, 6 * STEP_NS)));
    assert!(!result.signed_to_end);
}

/// Wherever a trace is cut, it is not verified, and what is left is vouched for up to the last
/// signature before the cut.
#[test]
fn a_cut_trace_is_signed_up_to_its_last_signature() {
    let bytes = signed();
    let all = chunks(Some(key()), 1);
    let ends: Vec<usize> = all
        .iter()
        .scan(0, |end, chunk| {
            *end += chunk.bytes.len();
            Some(*end)
        })
        .collect();
    for cut in 1..bytes.len() {
        let Ok((chunks, _)) = read_all(&bytes[..cut]) else {
            continue;
        };
        assert!(!verified(&bytes[..cut]), "cut at {cut}");
        let (issues, result) = verify(&bytes[..cut], Some(public()));
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(chunks.len() as u64, whole);
        let complete = issues
            .iter()
            .all(|issue| issue.what == IssueKind::NoSeekTable);
        let expected = match whole {
            10 if complete => 10,
            8.. => 7,
            5.. => 4,
            2.. => 1,
            _ => 0,
        };
        assert_eq!(result.vouched_chunks, expected, "cut at {cut}");
        assert_eq!(
            result.vouched_through.map(|(number, _)| number + 1),
            (expected > 0).then_some(expected)
        );
        assert!(!result.forged(), "a cut is no forgery: {result:?}");
    }
}

#[test]
fn changed_content_with_every_hash_made_right_is_a_forgery() {
    let all = chunks(Some(key()), 1);
    for target in 0..CHUNKS as usize {
        let forged = rehashed(&all, |index, forge| {
            if index == target {
                // `first_ns`: a bit of a header is content as much as one of a body.
                forge.fixed[64] ^= 1;
            }
        });
        for bytes in [file(&forged, None), file(&forged, Some(other_key()))] {
            assert!(!verified(&bytes), "chunk {target}");
            let (_, result) = verify(&bytes, Some(public()));
            // What a signature of the right key still vouches for was not touched.
            assert!(result.vouched_chunks <= target as u64, "chunk {target}");
        }
    }
    // The last chunk's successor would have signed it: only the summary can.
    let (_, result) = verify(
        &file(&rehashed(&all, |_, _| ()), Some(key())),
        Some(public()),
    );
    assert!(result.signed_to_end, "rehashing alone changes nothing");
}

#[test]
fn the_summary_of_another_trace_or_a_shorter_one_does_not_fit() {
    let all = chunks(Some(key()), 1);
    let other = chunks(Some(key()), 2);
    let bodies = |chunks: &[SealedChunk]| -> Vec<u8> {
        chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect()
    };
    let ending = |chunks: &[SealedChunk]| {
        let whole = file(chunks, Some(key()));
        whole[bodies(chunks).len()..].to_vec()
    };
    // Other content, same UUID and number of chunks, signed with the same key.
    let spliced = [bodies(&all), ending(&other)].concat();
    assert!(!verified(&spliced));
    // Cut, and the summary that a shorter capture would have had is not to be had: an older one is.
    let shorter = [bodies(&all[..8]), ending(&other[..8])].concat();
    assert!(!verified(&shorter));
}

/// Cut behind a signed chunk, and that chunk's signature put into a summary of what is left.
#[test]
fn a_chunks_signature_cannot_end_a_trace() {
    let all = chunks(Some(key()), 1);
    let stolen = all[7].header.signature.unwrap();
    let kept = &all[..7];
    let whole = file(kept, Some(other_key()));
    let at: usize = kept.iter().map(|chunk| chunk.bytes.len()).sum();
    let size = u32::from_le_bytes(whole[at + 4..at + 8].try_into().unwrap()) as usize;
    let mut payload = whole[at + 8..at + 8 + size].to_vec();
    let end = payload.len() - 32;
    payload[end - 64..end].copy_from_slice(&stolen.signature);
    payload[end - 96..end - 64].copy_from_slice(&stolen.public_key);
    let hash = blake3::hash(&payload[..end]);
    payload[end..].copy_from_slice(hash.as_bytes());
    let summary = Summary::read(&payload).unwrap();
    assert_eq!(summary.signature, Some(stolen));
    assert_eq!((summary.chunks, summary.head_hash), (7, all[6].header.hash));
    let mut bytes = whole.clone();
    bytes[at + 8..at + 8 + size].copy_from_slice(&payload);
    let (issues, result) = verify(&bytes, Some(public()));
    assert_eq!(issues, []);
    assert!(!result.signed_to_end);
    assert!(result.forgeries[0].contains("summary"), "{result:?}");
}

/// Totals and index are not signed; they are compared with what is.
#[test]
fn a_summary_with_other_totals_is_a_forgery() {
    let bytes = signed();
    let all = chunks(Some(key()), 1);
    let at: usize = all.iter().map(|chunk| chunk.bytes.len()).sum();
    let size = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
    let mut changed = bytes.clone();
    // `last_ns` of the summary.
    changed[at + 80] ^= 1;
    let payload = at + 8..at + 8 + size - 32;
    let hash = blake3::hash(&changed[payload.clone()]);
    changed[payload.end..payload.end + 32].copy_from_slice(hash.as_bytes());
    let (issues, result) = verify(&changed, Some(public()));
    assert_eq!(issues, []);
    assert!(result.forged() && result.signed_to_end, "{result:?}");
}

#[test]
fn a_hole_is_vouched_for_on_both_sides_only() {
    let all = chunks(Some(key()), 1);
    let mut bytes = signed();
    let at: usize = all[..5].iter().map(|chunk| chunk.bytes.len()).sum();
    bytes[at + 50] ^= 1;
    let (issues, result) = verify(&bytes, Some(public()));
    assert_eq!(issues.len(), 1);
    // 0 to 3 by chunk 4's signature, 6 to 9 by chunk 7's and the summary's; 4 by none any more.
    assert_eq!(result.vouched_chunks, 8);
    assert!(!result.forged());
}

#[test]
fn keys_are_read_as_openssl_writes_them() {
    assert_eq!(public().to_string(), PUBLIC_HEX);
    for text in [
        PUBLIC_PEM,
        PUBLIC_HEX,
        &format!(" {PUBLIC_HEX}\n"),
        &PUBLIC_HEX.to_uppercase(),
    ] {
        assert_eq!(PublicKey::parse(text).unwrap(), public(), "{text}");
    }
    assert!(
        !format!("{:?}", key()).contains("5873"),
        "no secret in a message"
    );
    let wrong = |text: &str| PublicKey::parse(text).unwrap_err().to_string();
    assert!(wrong(PEM).contains("found a private key"), "{}", wrong(PEM));
    assert!(wrong("1b46").contains("no PEM"));
    assert!(wrong("").contains("64 hexadecimal digits"));
    const X25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAG0a/z2vHIZsW+aTqfBpD4mgru9QlVIR96cjHfwYajiA=\n-----END PUBLIC KEY-----\n";
    assert!(wrong(X25519).contains("another kind"));
    let wrong = |text: &str| SigningKey::from_pem(text).unwrap_err().to_string();
    assert!(wrong(PUBLIC_PEM).contains("found a public key"));
    assert!(
        wrong("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
            .contains("EC PRIVATE KEY")
    );
}

/// The bytes that SPEC.md names, written out.
#[test]
fn the_signed_message_is_the_specs() {
    let signed = Signed {
        frame_kind: 2,
        trace_uuid: *b"0123456789abcdef",
        chunks: 0x0102_0304,
        head: [7; 32],
    };
    let mut expected = b"trailcam-chain-v1\x020123456789abcdef\x04\x03\x02\x01\0\0\0\0".to_vec();
    expected.extend([7; 32]);
    assert_eq!(signed.message().to_vec(), expected);
    assert_eq!(expected.len(), SIGNED_LEN);
    let signature = key().sign(&signed);
    assert!(signature.holds(&signed));
    for other in [
        Signed {
            frame_kind: 1,
            ..signed
        },
        Signed {
            trace_uuid: [0; 16],
            ..signed
        },
        Signed {
            chunks: 5,
            ..signed
        },
        Signed {
            head: [8; 32],
            ..signed
        },
    ] {
        assert!(!signature.holds(&other));
    }
}
