//! Signatures over the chain head: who vouches for how much of a trace; SPEC.md §Signatures.
//!
//! A signature covers a short message that names the trace, how many chunks it vouches for and the
//! hash of the last of them; the hash chain does the rest. Chunks and summary sign different
//! messages, so that a chunk's signature cannot pose as the end of a trace.
//!
//! The keys are Ed25519 in the files that OpenSSL writes. Nothing here reads a file: whoever does
//! judges its permissions.

use std::fmt;

use bincode::{Decode, Encode};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};

use crate::{Error, error::hex};

/// The message's first bytes: what a key signs here means nothing in any other protocol.
pub const SIGNED_DOMAIN: [u8; 17] = *b"trailcam-chain-v1";
/// Domain, frame kind, trace, number of chunks, chain head.
pub const SIGNED_LEN: usize = SIGNED_DOMAIN.len() + 1 + 16 + 8 + 32;
/// While a capture runs, a chunk is signed when this much trace time has passed since the last one.
pub const SIGN_INTERVAL_NS: u64 = 60_000_000_000;

/// What comes before the 32 bytes of a key in an Ed25519 SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A public key and what it signed; part 5 of a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signature {
    pub public_key: [u8; 32],
    pub signature: [u8; 64],
}

/// What a signature is about: the first `chunks` chunks of a trace end with the hash `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Of the frame that carries the signature.
    pub frame_kind: u8,
    pub trace_uuid: [u8; 16],
    /// The frame's `number`.
    pub chunks: u64,
    /// The frame's `prev_hash`.
    pub head: [u8; 32],
}

impl Signed {
    /// The bytes that are signed.
    pub fn message(&self) -> [u8; SIGNED_LEN] {
        let mut message = [0; SIGNED_LEN];
        let mut at = 0;
        for bytes in [
            &SIGNED_DOMAIN[..],
            &[self.frame_kind],
            &self.trace_uuid,
            &self.chunks.to_le_bytes(),
            &self.head,
        ] {
            message[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        message
    }
}

impl Signature {
    /// Whether the key that it names signed this. Whose key that is, is another question.
    pub fn holds(&self, signed: &Signed) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public_key)
            .verify(&signed.message(), &self.signature)
            .is_ok()
    }
}

/// The private half: stays with the recorder, never in a trace.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads a PKCS#8 key in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        const EXPECTED: &str =
            "an Ed25519 private key in PEM, as `openssl genpkey -algorithm ed25519` writes it";
        let wrong = |found: String| Error::Key {
            expected: EXPECTED,
            found,
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| wrong(describe(text)))?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map(SigningKey)
            .map_err(|error| wrong(format!("a private key that is refused ({error})")))
    }

    pub fn public_key(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 key has 32 bytes"))
    }

    pub fn sign(&self, signed: &Signed) -> Signature {
        let signature = self.0.sign(&signed.message());
        Signature {
            public_key: self.public_key().0,
            signature: signature
                .as_ref()
                .try_into()
                .expect("an Ed25519 signature has 64 bytes"),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public_key())
    }
}

/// The public half: given by whoever verifies, never taken from the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads PEM, as `openssl pkey -pubout` writes it, or 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const EXPECTED: &str = "an Ed25519 public key: PEM, as `openssl pkey -pubout` writes it, or 64 hexadecimal digits";
        let wrong = |found: String| Error::Key {
            expected: EXPECTED,
            found,
        };
        if let Some(key) = from_hex(text.trim()) {
            return Ok(PublicKey(key));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|_| wrong(describe(text)))?;
        der.strip_prefix(&SPKI_PREFIX)
            .and_then(|key| key.try_into().ok())
            .map(PublicKey)
            .ok_or_else(|| wrong("a public key of another kind".to_owned()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What a key file holds instead of the key that was looked for.
fn describe(text: &str) -> String {
    let label = text.split_once("-----BEGIN ").and_then(|(_, rest)| {
        let label = rest.split_once("-----")?.0;
        (label.len() <= 40 && label.chars().all(|c| c.is_ascii_uppercase() || c == ' '))
            .then_some(label)
    });
    match label {
        Some("PRIVATE KEY") => "a private key".to_owned(),
        Some("PUBLIC KEY") => "a public key".to_owned(),
        Some("ENCRYPTED PRIVATE KEY") => {
            "an encrypted private key: decrypt it with `openssl pkey -in FILE`".to_owned()
        }
        Some(label) => format!("a PEM file with a {label}"),
        None => "no PEM".to_owned(),
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| (c as char).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}
