//! The files of a container: the same for Docker (as a tar) and for the sandbox (written to a tmpfs).
//!
//! All contents are made here, the same for every container, so an image says nothing about what
//! will be done in it. The secrets are decoys that open nothing.

use std::fmt::Write as _;

/// Where the program is, and what its other names are (links to it).
pub const PROGRAM: &str = "/usr/bin/appd";
pub const LINKS: [&str; 14] = [
    SERVER,
    "/usr/bin/fetchd",
    "/usr/bin/kvd",
    "/usr/bin/kvc",
    "/usr/bin/dbd",
    "/usr/bin/batchd",
    "/usr/bin/brokerd",
    "/usr/bin/feedd",
    "/usr/bin/workd",
    "/usr/bin/idled",
    "/usr/bin/stated",
    COMPACT,
    "/usr/bin/named",
    SHELL,
];
pub const COMPACT: &str = "/usr/bin/compactd";
pub const SHELL: &str = "/usr/bin/sh";
pub const SERVER: &str = "/usr/bin/webd";

/// The directory that may be written and executed from, and those that may only be written.
pub const SCRATCH: &str = "/tmp";
pub const RUN: &str = "/run";
pub const LOGS: &str = "/var/log";
pub const SPOOL: &str = "/var/spool/cron";

/// Limits of the writable file systems.
pub const SCRATCH_MIB: u32 = 16;
pub const WRITABLE_MIB: u32 = 4;
pub const WRITABLE: [&str; 3] = [RUN, LOGS, SPOOL];
pub const INODES: u32 = 1024;

pub const PAGES: u32 = 8;
pub const TABLES: u32 = 4;

/// Files that only an act reads.
pub const DECOYS: [(&str, &str); 9] = [
    (
        "/etc/shadow",
        "root:$6$decoydecoy$DECOYdecoyDECOYdecoyDECOYdecoyDECOYdecoyDECOYdecoyDECOYdecoy:20000:0:99999:7:::\napp:!:20000:0:99999:7:::\n",
    ),
    ("/etc/gshadow", "root:*::\napp:!::\n"),
    (
        "/root/.ssh/id_ed25519",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nZGVjb3k6IG9wZW5zIG5vdGhpbmcK\n-----END OPENSSH PRIVATE KEY-----\n",
    ),
    (
        "/root/.aws/credentials",
        "[default]\naws_access_key_id = DECOYDECOYDECOYDECOY\naws_secret_access_key = decoy\n",
    ),
    (
        "/root/.docker/config.json",
        "{\"auths\":{\"registry.invalid\":{\"auth\":\"ZGVjb3k6ZGVjb3k=\"}}}\n",
    ),
    (
        "/root/.kube/config",
        "apiVersion: v1\nkind: Config\nusers:\n- name: decoy\n  user:\n    token: decoy\n",
    ),
    (
        "/root/.git-credentials",
        "https://decoy:decoy@git.invalid\n",
    ),
    (
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "ZGVjb3k.ZGVjb3k.ZGVjb3k\n",
    ),
    (
        "/srv/app/.env",
        "DATABASE_URL=postgres://decoy:decoy@db.invalid/app\n",
    ),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(Vec<u8>),
    Link(&'static str),
}

/// One entry below the root; parents come before what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Absolute.
    pub path: String,
    pub mode: u32,
    pub node: Node,
}

/// Everything in the image, in an order in which it can be created.
pub fn entries(program: Vec<u8>, version: u32) -> Vec<Entry> {
    let mut files = vec![(PROGRAM.to_owned(), 0o755, Node::File(program))];
    files.extend(LINKS.map(|link| (link.to_owned(), 0o777, Node::Link(PROGRAM))));
    let plain = [
        (
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/false\n",
        ),
        ("/etc/group", "root:x:0:\napp:x:1000:\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
        ("/etc/resolv.conf", "options timeout:1\n"),
    ];
    files.extend(plain.map(|(path, text)| (path.to_owned(), 0o644, Node::File(text.into()))));
    let release = format!("ID=appd\nNAME=appd\nVERSION_ID={version}\n");
    files.push((
        "/etc/os-release".to_owned(),
        0o644,
        Node::File(release.into_bytes()),
    ));
    files.extend(DECOYS.map(|(path, text)| (path.to_owned(), 0o600, Node::File(text.into()))));
    files.extend((0..PAGES).map(|page| (page_path(page), 0o644, Node::File(page_content(page)))));
    files.extend(
        (0..TABLES).map(|table| (table_path(table), 0o644, Node::File(table_content(table)))),
    );
    let empty = ["/dev", "/proc", "/sys", SCRATCH, RUN, LOGS, SPOOL];
    let mut entries: Vec<Entry> = Vec::new();
    for path in empty {
        add_directories(&mut entries, &format!("{path}/"));
    }
    for (path, mode, node) in files {
        add_directories(&mut entries, &path);
        entries.push(Entry { path, mode, node });
    }
    entries
}

/// Every directory above `path` that is not there yet.
fn add_directories(entries: &mut Vec<Entry>, path: &str) {
    for (at, _) in path.match_indices('/').skip(1) {
        let directory = &path[..at];
        if !entries.iter().any(|entry| entry.path == directory) {
            let mode = if directory == SCRATCH { 0o1777 } else { 0o755 };
            entries.push(Entry {
                path: directory.to_owned(),
                mode,
                node: Node::Directory,
            });
        }
    }
}

pub fn page_path(page: u32) -> String {
    format!("/srv/www/page{page}.html")
}

pub fn table_path(table: u32) -> String {
    format!("/srv/data/table{table}.csv")
}

fn page_content(page: u32) -> Vec<u8> {
    let mut text = format!("<!doctype html><title>Page {page}</title>\n");
    for line in 0..20 * (page + 1) {
        let _ = writeln!(text, "<p>Line {line} of page {page}.</p>");
    }
    text.into_bytes()
}

fn table_content(table: u32) -> Vec<u8> {
    let mut text = String::from("key,value\n");
    for row in 0..500 * (table + 1) {
        let _ = writeln!(text, "{row},{}", row.wrapping_mul(2_654_435_761) % 1000);
    }
    text.into_bytes()
}

/// The image as an uncompressed ustar archive. Times are 0, so the same program gives the same bytes.
pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        let (kind, target, content): (u8, &str, &[u8]) = match &entry.node {
            Node::Directory => (b'5', "", &[]),
            Node::File(content) => (b'0', "", content),
            Node::Link(target) => (b'2', target, &[]),
        };
        let mut header = [0u8; 512];
        let name = entry.path.trim_start_matches('/').as_bytes();
        assert!(
            name.len() <= 100 && target.len() <= 100,
            "image paths fit ustar: {}",
            entry.path
        );
        header[..name.len()].copy_from_slice(name);
        octal(&mut header[100..108], u64::from(entry.mode));
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
        octal(&mut header[124..136], content.len() as u64);
        octal(&mut header[136..148], 0);
        header[156] = kind;
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        // The checksum is taken with its own field as spaces.
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut header[148..155], sum);
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// Octal digits and a NUL, filling the field.
fn octal(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}\0", width = field.len() - 1);
    field.copy_from_slice(digits.as_bytes());
}

/// Name of the image of this program, the same in every runtime.
pub fn reference(program: &[u8]) -> String {
    let hash = blake3::hash(&tar(&entries(program.to_vec(), 1)));
    format!("appd:{}", &hash.to_hex()[..12])
}

/// Name of a version of the image: the first is the image's own.
pub fn versioned(reference: &str, version: u32) -> String {
    match version {
        1 => reference.to_owned(),
        version => format!("{reference}-{version}"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn parents_come_first_and_once() {
        let entries = entries(b"program".to_vec(), 1);
        for (place, entry) in entries.iter().enumerate() {
            let (parent, _) = entry.path.rsplit_once('/').expect("paths are absolute");
            assert!(
                parent.is_empty()
                    || entries[..place]
                        .iter()
                        .any(|e| e.path == parent && e.node == Node::Directory),
                "{}",
                entry.path
            );
            assert!(
                entries[..place].iter().all(|e| e.path != entry.path),
                "{}",
                entry.path
            );
        }
    }

    #[test]
    fn another_program_reads_the_archive() {
        let entries = entries(vec![7; 1000], 1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        std::fs::write(&path, tar(&entries)).unwrap();
        let Ok(output) = Command::new("tar")
            .arg("-tf")
            .arg(&path)
            .stderr(Stdio::inherit())
            .output()
        else {
            println!("skipped: no tar program");
            return;
        };
        assert!(output.status.success());
        let listed: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| format!("/{}", line.trim_end_matches('/')))
            .collect();
        let made: Vec<String> = entries.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(listed, made);
    }

    #[test]
    fn no_file_name_in_the_image_tells_a_class() {
        for entry in entries(Vec::new(), 1) {
            for info in crate::act::all() {
                assert!(!entry.path.contains(info.name), "{}", entry.path);
            }
        }
    }
}
