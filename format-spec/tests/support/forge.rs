//! Takes a chunk apart and puts it together again, by SPEC.md and without the codec: what a newer
//! writer, or a hostile one, could have made. Hash and lengths come out right.
#![allow(dead_code, reason = "each test program uses its own part of this")]

pub const MAGIC: u32 = 0x184D_2A54;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub kind: u8,
    pub encoding: u8,
    pub family: u16,
    pub column: u16,
    pub rows: u32,
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Forge {
    /// The 120 bytes of fixed fields.
    pub fixed: Vec<u8>,
    /// (tag, payload)
    pub parts: Vec<(u16, Vec<u8>)>,
    pub sections: Vec<Section>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// (tag, payload) of each part of a header.
pub fn parts(mut meta: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut parts = Vec::new();
    while !meta.is_empty() {
        let len = word(meta, 2) as usize;
        parts.push((half(meta, 0), meta[6..6 + len].to_vec()));
        meta = &meta[6 + len..];
    }
    parts
}

impl Forge {
    pub fn open(chunk: &[u8]) -> Forge {
        assert_eq!(word(chunk, 0), MAGIC);
        let payload = &chunk[8..8 + word(chunk, 4) as usize];
        let parts = parts(&payload[120..payload.len() - 32]);
        let body = zstd::decode_all(&chunk[8 + payload.len()..]).unwrap();
        let count = half(&body, 0) as usize;
        let mut at = 2 + 14 * count;
        let sections = (0..count)
            .map(|index| {
                let entry = &body[2 + 14 * index..];
                let len = word(entry, 10) as usize;
                at += len;
                Section {
                    kind: entry[0],
                    encoding: entry[1],
                    family: half(entry, 2),
                    column: half(entry, 4),
                    rows: word(entry, 6),
                    payload: body[at - len..at].to_vec(),
                }
            })
            .collect();
        Forge {
            fixed: payload[..120].to_vec(),
            parts,
            sections,
        }
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = (self.sections.len() as u16).to_le_bytes().to_vec();
        for section in &self.sections {
            body.extend([section.kind, section.encoding]);
            body.extend(section.family.to_le_bytes());
            body.extend(section.column.to_le_bytes());
            body.extend(section.rows.to_le_bytes());
            body.extend((section.payload.len() as u32).to_le_bytes());
        }
        self.sections
            .iter()
            .for_each(|section| body.extend(&section.payload));
        body
    }

    pub fn close(&self) -> Vec<u8> {
        let body = self.body();
        self.close_with(&body, body.len() as u32)
    }

    /// With any body, and any claim about its length.
    pub fn close_with(&self, body: &[u8], body_len: u32) -> Vec<u8> {
        let mut zstd = zstd::bulk::Compressor::new(3).unwrap();
        zstd.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))
            .unwrap();
        self.close_frame(&zstd.compress(body).unwrap(), body_len)
    }

    /// The parts as they stand in the header.
    pub fn meta(&self) -> Vec<u8> {
        let mut meta = Vec::new();
        for (tag, payload) in &self.parts {
            meta.extend(tag.to_le_bytes());
            meta.extend((payload.len() as u32).to_le_bytes());
            meta.extend(payload);
        }
        meta
    }

    pub fn close_frame(&self, frame: &[u8], body_len: u32) -> Vec<u8> {
        self.close_meta(&self.meta(), frame, body_len)
    }

    /// With any parts.
    pub fn close_meta(&self, meta: &[u8], frame: &[u8], body_len: u32) -> Vec<u8> {
        let mut payload = self.fixed.clone();
        payload[24..28].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        payload[28..32].copy_from_slice(&body_len.to_le_bytes());
        payload[32..36].copy_from_slice(&(meta.len() as u32).to_le_bytes());
        payload.extend(meta);
        let hash = blake3::Hasher::new()
            .update(&payload)
            .update(frame)
            .finalize();
        payload.extend(hash.as_bytes());
        let mut chunk = MAGIC.to_le_bytes().to_vec();
        chunk.extend((payload.len() as u32).to_le_bytes());
        chunk.extend(payload);
        chunk.extend(frame);
        chunk
    }

    pub fn section(&mut self, kind: u8) -> &mut Section {
        self.sections
            .iter_mut()
            .find(|section| section.kind == kind)
            .unwrap()
    }

    pub fn column(&mut self, family: u16, column: u16) -> &mut Section {
        self.sections
            .iter_mut()
            .find(|section| (section.kind, section.family, section.column) == (1, family, column))
            .unwrap()
    }

    pub fn set_rows(&mut self, rows: u32) {
        self.fixed[36..40].copy_from_slice(&rows.to_le_bytes());
    }
}
