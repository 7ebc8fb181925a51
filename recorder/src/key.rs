//! The file with the key that signs a trace.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context as _, bail};
use trace_format::SigningKey;

/// A PEM file with an Ed25519 key has 119 bytes, with comments some more.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Whoever else may read the key can sign; whoever may write the file can choose the key.
const OTHERS: u32 = 0o077;

/// Reads a private key. A file that others may open is refused: what it signs proves nothing.
pub fn read(path: &Path) -> anyhow::Result<SigningKey> {
    let mut file =
        File::open(path).with_context(|| format!("cannot open the key {}", path.display()))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("cannot inspect the key {}", path.display()))?;
    if metadata.is_dir() {
        bail!("cannot read the key {}: it is a directory", path.display());
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        bail!(
            "the key {} is open to others than its owner (mode {mode:03o}): whoever read it can sign \
             what they like; run chmod 600 on it, or make a new one if it was read",
            path.display()
        );
    }
    // The same for the owner, unless that is root or us.
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        bail!(
            "the key {} belongs to the user {owner}, who can read and replace it; give it to the user that runs rec",
            path.display()
        );
    }
    let mut text = String::new();
    Read::by_ref(&mut file)
        .take(KEY_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    SigningKey::from_pem(&text).with_context(|| format!("cannot sign with {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// As `openssl genpkey -algorithm ed25519` wrote it, for these tests alone.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIFirFzlBlk8frY2fQXHWVRkUbTJB+CKX4DBAVpTRv4xW\n\
        -----END PRIVATE KEY-----\n";

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_key_is_read_only_while_nobody_else_can() {
        for mode in [0o600, 0o400] {
            let (_directory, path) = written(PEM, mode);
            read(&path).unwrap();
        }
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
            let (_directory, path) = written(PEM, mode);
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(&format!("{mode:03o}")), "{error}");
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_it_is() {
        for (text, found) in [
            ("", "no PEM"),
            ("0123456789", "no PEM"),
            (
                "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAG0a/z2vHIZsW+aTqfBpD4mgru9QlVIR96cjHfwYajiA=\n-----END PUBLIC KEY-----\n",
                "a public key",
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "encrypted",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "refused",
            ),
        ] {
            let (_directory, path) = written(text, 0o600);
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(found), "{error}");
            assert!(error.contains("genpkey"), "{error}");
        }
        let error = read(Path::new("/no/such/key")).unwrap_err();
        assert!(format!("{error:#}").contains("/no/such/key"));
        assert!(read(Path::new("/")).is_err());
    }
}
