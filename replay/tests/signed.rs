//! `replay verify` and keys: what it says of a signed, forged, cut or unsigned trace, and its exit code.

mod support;

use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Arc,
};
use support::{Scenario, items};
use tempfile::TempDir;
use trace_format::{ChunkBuilder, Limits, SealedChunk, SigningKey, TraceWriter};

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

fn key(pem: &str) -> Option<Arc<SigningKey>> {
    Some(Arc::new(SigningKey::from_pem(pem).unwrap()))
}

/// Two minutes of quiet work in chunks of 500 records.
fn chunks(key: Option<Arc<SigningKey>>) -> Vec<SealedChunk> {
    let mut builder = ChunkBuilder::new([7; 16], Limits::default());
    if let Some(key) = key {
        builder.sign_with(key);
    }
    let items = items(Scenario {
        seconds: 130,
        ..Scenario::QUIET
    });
    let mut chunks = Vec::new();
    for group in items.chunks(500) {
        for item in group {
            match item.clone() {
                support::Item::Event(event) => builder.push(event),
                support::Item::Context(record) => builder.context(record).unwrap(),
            }
        }
        chunks.push(builder.seal(group.iter().map(support::Item::boot_ns).min().unwrap()));
    }
    chunks
}

fn file(chunks: &[SealedChunk], key: Option<Arc<SigningKey>>) -> Vec<u8> {
    let mut writer = TraceWriter::new(Vec::new());
    if let Some(key) = key {
        writer.sign_with(key);
    }
    chunks.iter().for_each(|chunk| writer.write(chunk).unwrap());
    writer.finish().unwrap()
}

struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn verify(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay"))
        .arg("verify")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Exit code, the text, and the JSON object.
fn verdict(arguments: &[&str]) -> (i32, String, Value) {
    let text = verify(arguments);
    let json = verify(&[arguments, &["--json"]].concat());
    assert_eq!(text.status, json.status);
    (
        text.status.code().unwrap(),
        String::from_utf8(text.stdout).unwrap(),
        serde_json::from_slice(&json.stdout).unwrap(),
    )
}

#[test]
fn only_a_whole_trace_signed_to_its_end_by_the_given_key_is_verified() {
    let files = Files::new();
    let trace = files.write("signed.zst", &file(&chunks(key(PEM)), key(PEM)));
    let pem = files.write("key.pub", PUBLIC_PEM.as_bytes());
    let hex = files.write("key.hex", PUBLIC_HEX.as_bytes());
    for public in [&pem, &hex, PUBLIC_HEX] {
        let (code, text, json) = verdict(&["--public-key", public, &trace]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("verified: whole"), "{text}");
        assert_eq!(json["verdict"], "verified");
        assert_eq!(json["signed_chunks"], json["chunks"]);
    }
    // Without a key it says so, and what the trace claims.
    let (code, text, json) = verdict(&[&trace]);
    assert_eq!((code, &json["verified"]), (0, &false.into()), "{text}");
    assert!(text.contains("not verified"), "{text}");
    assert_eq!(json["claimed_key"], PUBLIC_HEX);
    // Another key is as bad as none.
    let other = SigningKey::from_pem(OTHER_PEM).unwrap().public_key();
    let (code, text, json) = verdict(&["--public-key", &other.to_string(), &trace]);
    assert_eq!((code, &json["verdict"]), (1, &"forged".into()), "{text}");
    assert!(text.contains(PUBLIC_HEX), "{text}");
}

#[test]
fn an_unsigned_trace_fails_when_a_key_is_given() {
    let files = Files::new();
    let trace = files.write("plain.zst", &file(&chunks(None), None));
    let (code, text, json) = verdict(&["--public-key", PUBLIC_HEX, &trace]);
    assert_eq!((code, &json["verdict"]), (1, &"unsigned".into()), "{text}");
    assert!(text.contains("NOT signed"), "{text}");
}

#[test]
fn a_killed_trace_says_up_to_when_it_is_signed() {
    let files = Files::new();
    let all = chunks(key(PEM));
    let last = all
        .iter()
        .rposition(|chunk| chunk.header.signature.is_some())
        .unwrap();
    assert!(last > 2 && last + 1 < all.len(), "{last} of {}", all.len());
    let bytes: Vec<u8> = all.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
    let trace = files.write("killed.zst", &bytes);
    let (code, text, json) = verdict(&["--public-key", PUBLIC_HEX, &trace]);
    assert_eq!(
        (code, &json["verdict"]),
        (3, &"incomplete".into()),
        "{text}"
    );
    assert_eq!(json["signed_chunks"], last);
    assert_eq!(json["signed_through_chunk"], last - 1);
    assert!(json["signed_through"].as_str().unwrap().ends_with('Z'));
    assert!(
        text.contains(&format!("through chunk {}", last - 1)),
        "{text}"
    );
    // The same with an end that was written without the key: the tail is anybody's.
    let trace = files.write("tail.zst", &file(&all, None));
    let (code, text, json) = verdict(&["--public-key", PUBLIC_HEX, &trace]);
    assert_eq!((code, &json["whole"]), (3, &true.into()), "{text}");
    assert!(text.contains("NOT signed to its end"), "{text}");
}

/// Somebody changes a chunk and computes every hash anew, as anybody can.
#[test]
fn a_rehashed_change_is_called_forged() {
    let files = Files::new();
    let honest = chunks(key(PEM));
    // The honest end behind a chunk that says something else.
    let mut bytes = file(&honest, key(PEM));
    let first = honest[0].bytes.len();
    let mut forged = ChunkBuilder::new([7; 16], Limits::default());
    forged.push(honest[0].decode().unwrap().events[0].clone());
    let forged = forged.seal(honest[0].header.watermark_ns);
    bytes.splice(..first, forged.bytes.iter().copied());
    let trace = files.write("exchanged.zst", &bytes);
    let (code, text, json) = verdict(&["--public-key", PUBLIC_HEX, &trace]);
    assert_ne!(code, 0, "{text}");
    assert_eq!(json["verified"], false);
    assert!(text.contains("hash chain"), "{text}");
    // A signature that does not hold needs no key to be seen.
    let mut all = chunks(key(PEM));
    let mut other = chunks(key(OTHER_PEM));
    let place = all
        .iter()
        .position(|chunk| chunk.header.signature.is_some())
        .unwrap();
    all.truncate(place);
    all.push(other.swap_remove(place));
    let trace = files.write("spliced.zst", &file(&all, key(PEM)));
    let (code, text, _) = verdict(&["--public-key", PUBLIC_HEX, &trace]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FORGED"), "{text}");
}

#[test]
fn a_bad_key_is_refused_with_one_line() {
    let files = Files::new();
    let trace = files.write("plain.zst", &file(&chunks(None), None));
    let private = files.write("key.pem", PEM.as_bytes());
    for (argument, code, words) in [
        (private.as_str(), 2, "openssl pkey -in FILE -pubout"),
        ("/no/such/key", 1, "/no/such/key"),
        (&trace, 1, "public key"),
    ] {
        let output = verify(&["--public-key", argument, &trace]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(words), "{said}");
    }
}
