//! A trained model as one file: the forest, its threshold, what each image is known by, and where all
//! of it comes from.
//!
//! ```text
//! "TCMODEL\n" | format version u16 | body length u64 | BLAKE3 of the body, 32 bytes | body
//! ```
//!
//! Numbers are little-endian. The body is bincode with the repository's usual configuration. A model is
//! refused, with the reason, when the file is something else, is cut short or changed, was written by a
//! newer program, or was trained on other features than this program computes. It is written beside its
//! place and renamed, so that a half-written model is never read.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use forest::IsolationForest;

use crate::features::{
    Settings, Trained, WINDOW_NS_MAX, WINDOW_NS_MIN,
    inputs::{INPUTS, Judge, Scales},
    schema::{self, COUNT},
};

const MAGIC: &[u8; 8] = b"TCMODEL\n";
/// Raised when the body's meaning changes.
pub const FORMAT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 8 + 2 + 8 + 32;

/// A model file. The largest forest is 128 MiB of nodes; real models have half a megabyte.
pub const BYTES_MAX: usize = 256 << 20;
/// Images a model knows habits of.
pub const IMAGES_MAX: usize = 1024;
/// Items per image, of all kinds.
pub const ITEMS_MAX: usize = 16_384;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the model {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the model {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} exists; choose another name or say --force", path.display())]
    Exists { path: PathBuf },
    #[error("{} is not a model: `model train` writes one", path.display())]
    Foreign { path: PathBuf },
    #[error("{} is a model of format version {found}; this program reads version {expected}", path.display())]
    Version {
        path: PathBuf,
        expected: u16,
        found: u16,
    },
    #[error("the model {} is damaged or cut short: {what}; train it again or copy it again", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error(
        "the model {} was trained on other features ({found}) than this program computes ({expected}): train it again with this version",
        path.display()
    )]
    Schema {
        path: PathBuf,
        expected: String,
        found: String,
    },
}

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq, bincode::Encode, bincode::Decode, serde::Serialize)]
pub struct Provenance {
    /// Program and version that trained it.
    pub program: String,
    /// Runs it was trained on, by name and trace.
    pub runs: Vec<Run>,
    /// Windows it was fitted on, and those that were judged to choose the threshold.
    pub fitted_windows: u64,
    pub normal_windows: u64,
    pub anomalous_windows: u64,
    pub seed: u64,
    /// How the threshold was chosen.
    pub threshold_rule: String,
    /// On windows that the judging forest had not seen; `None`: the labels had only one side.
    pub auroc: Option<f64>,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, bincode::Encode, bincode::Decode, serde::Serialize)]
pub struct Run {
    pub name: String,
    pub trace_uuid: String,
    pub windows: u64,
}

/// What an image is known by: the items of its normal windows.
#[derive(Clone, Debug, Default, PartialEq, bincode::Encode, bincode::Decode)]
pub struct ImageItems {
    pub repository: String,
    pub items: Vec<u64>,
}

#[derive(bincode::Encode, bincode::Decode)]
struct Body {
    schema_version: u32,
    schema_hash: u64,
    features: Vec<String>,
    window_ns: u64,
    threshold: f64,
    scales: Vec<f64>,
    forest: Vec<u8>,
    images: Vec<ImageItems>,
    provenance: Provenance,
}

/// A model, checked and ready.
#[derive(Debug)]
pub struct Model {
    judge: Judge,
    window_ns: u64,
    threshold: f64,
    images: Vec<ImageItems>,
    trained: Trained,
    provenance: Provenance,
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_limit::<BYTES_MAX>()
}

impl Model {
    /// # Panics
    /// When a number is out of its range: training made them.
    pub fn new(
        judge: Judge,
        window_ns: u64,
        threshold: f64,
        mut images: Vec<ImageItems>,
        provenance: Provenance,
    ) -> Model {
        assert!(
            (WINDOW_NS_MIN..=WINDOW_NS_MAX).contains(&window_ns),
            "a window of {window_ns} ns"
        );
        assert!(
            (0.0..=1.0).contains(&threshold),
            "a threshold of {threshold}"
        );
        images.sort_by(|a, b| a.repository.cmp(&b.repository));
        images.truncate(IMAGES_MAX);
        for image in &mut images {
            image.items.sort_unstable();
            image.items.dedup();
            image.items.truncate(ITEMS_MAX);
        }
        let trained = Trained::new(
            images
                .iter()
                .map(|image| (image.repository.clone(), image.items.clone())),
        );
        Model {
            judge,
            window_ns,
            threshold,
            images,
            trained,
            provenance,
        }
    }

    /// How features must be computed for this model.
    pub fn settings(&self) -> Settings {
        Settings {
            window_ns: self.window_ns,
            trained: self.trained.clone(),
            items: false,
        }
    }

    pub fn judge(&self) -> &Judge {
        &self.judge
    }
    pub fn window_ns(&self) -> u64 {
        self.window_ns
    }
    /// Scores from here on are findings.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }
    pub fn images(&self) -> &[ImageItems] {
        &self.images
    }
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let body = Body {
            schema_version: schema::VERSION,
            schema_hash: schema::hash(),
            features: schema::names().map(str::to_owned).collect(),
            window_ns: self.window_ns,
            threshold: self.threshold,
            scales: self.judge.scales().values().to_vec(),
            forest: self.judge.forest().to_bytes(),
            images: self.images.clone(),
            provenance: self.provenance.clone(),
        };
        let body = bincode::encode_to_vec(body, config())
            .expect("a model within its bounds can be encoded");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(blake3::hash(&body).as_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads what [`Model::to_bytes`] wrote; `path` is for messages.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Model, Error> {
        let path_of = || path.to_owned();
        let damaged = |what: String| Error::Damaged {
            path: path_of(),
            what,
        };
        if !bytes.starts_with(MAGIC) {
            return Err(Error::Foreign { path: path_of() });
        }
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(damaged(format!(
                "it has {} bytes, its header alone has {HEADER_BYTES}",
                bytes.len()
            )));
        };
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version != FORMAT_VERSION {
            return Err(Error::Version {
                path: path_of(),
                expected: FORMAT_VERSION,
                found: version,
            });
        }
        let length = u64::from_le_bytes(header[10..18].try_into().expect("eight bytes"));
        if length != body.len() as u64 {
            return Err(damaged(format!(
                "its body has {} bytes of {length}",
                body.len()
            )));
        }
        if blake3::hash(body).as_bytes() != &header[18..] {
            return Err(damaged("its checksum does not match".to_owned()));
        }
        let (body, used) = bincode::decode_from_slice::<Body, _>(body, config())
            .map_err(|error| damaged(error.to_string()))?;
        if used as u64 != length {
            return Err(damaged(format!(
                "{} bytes follow its end",
                length - used as u64
            )));
        }
        body.into_model(path)
    }

    pub fn load(path: &Path) -> Result<Model, Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        // One byte more than may be: an endless file is refused, not read.
        file.take(BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(read)?;
        if bytes.len() > BYTES_MAX {
            return Err(Error::Foreign {
                path: path.to_owned(),
            });
        }
        Model::from_bytes(&bytes, path)
    }

    /// Writes the model beside its place, then renames it.
    pub fn save(&self, path: &Path, force: bool) -> Result<(), Error> {
        let write = |source| Error::Write {
            path: path.to_owned(),
            source,
        };
        if !force && path.exists() {
            return Err(Error::Exists {
                path: path.to_owned(),
            });
        }
        let Some(name) = path.file_name() else {
            return Err(write(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the name of a file is missing",
            )));
        };
        let mut beside = name.to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = path.with_file_name(beside);
        let written = (|| {
            let mut file = fs::File::create(&beside)?;
            file.write_all(&self.to_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        })();
        if written.is_err() {
            // Nothing half-written stays; that it may not have been made is no further error.
            let _ = fs::remove_file(&beside);
        }
        written.map_err(write)
    }
}

impl Body {
    /// Checks what the program relies on.
    fn into_model(self, path: &Path) -> Result<Model, Error> {
        let damaged = |what: String| Error::Damaged {
            path: path.to_owned(),
            what,
        };
        if self.schema_version != schema::VERSION
            || self.schema_hash != schema::hash()
            || !self.features.iter().map(String::as_str).eq(schema::names())
        {
            let unknown: Vec<&str> = self
                .features
                .iter()
                .map(String::as_str)
                .filter(|name| !schema::names().any(|known| known == *name))
                .take(5)
                .collect();
            let unknown = if unknown.is_empty() {
                String::new()
            } else {
                format!(", unknown here: {}", unknown.join(", "))
            };
            return Err(Error::Schema {
                path: path.to_owned(),
                expected: format!(
                    "version {}, {COUNT} features, {:016x}",
                    schema::VERSION,
                    schema::hash()
                ),
                found: format!(
                    "version {}, {} features, {:016x}{unknown}",
                    self.schema_version,
                    self.features.len(),
                    self.schema_hash
                ),
            });
        }
        let forest = IsolationForest::from_bytes(&self.forest)
            .map_err(|error| damaged(error.to_string()))?;
        let Some(scales) = Scales::from_stored(&self.scales) else {
            return Err(damaged("its scales are not usable".to_owned()));
        };
        let columns = forest.columns();
        let Some(judge) = Judge::new(forest, scales) else {
            return Err(damaged(format!(
                "its forest has {columns} columns, expected {INPUTS}"
            )));
        };
        if !(WINDOW_NS_MIN..=WINDOW_NS_MAX).contains(&self.window_ns) {
            return Err(damaged(format!("a window of {} ns", self.window_ns)));
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(damaged(format!("a threshold of {}", self.threshold)));
        }
        if self.images.len() > IMAGES_MAX
            || self
                .images
                .iter()
                .any(|image| image.items.len() > ITEMS_MAX)
        {
            return Err(damaged("more images or items than a model has".to_owned()));
        }
        Ok(Model::new(
            judge,
            self.window_ns,
            self.threshold,
            self.images,
            self.provenance,
        ))
    }
}
