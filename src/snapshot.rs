//! What survives a restart, and how? One file, written whole or not at all, with its version and a checksum.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::model::text::stable_hash;

const MAGIC: &[u8; 8] = b"kstrata\0";

/// The version of the format. A file of another version is set aside, never guessed at.
const VERSION: u32 = 7;

const HEADER: usize = MAGIC.len() + 4 + 8;

/// The directory in which one daemon keeps its state.
#[derive(Debug)]
pub struct Snapshots {
    file: PathBuf,
    _lock: File,
}

/// Why state can't be kept or read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The directory can't be used.
    #[error("could not use the state directory {}; check `state.directory` and its rights", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon uses the directory.
    #[error("the state directory {} is in use by another kubestrata; give each its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file can't be read or written.
    #[error("could not {attempt} the state file {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state can't be encoded.
    #[error("could not encode the state")]
    Encode(#[source] postcard::Error),
}

/// What was found at start.
#[derive(Debug)]
pub enum Loaded<T> {
    /// No file: a first start.
    Nothing,
    /// The state as it was saved.
    State(Box<T>),
    /// A file that can't be used, moved out of the way.
    SetAside {
        /// Where it is now.
        to: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Snapshots {
    /// Opens the directory, makes it if need be, and holds it against other daemons.
    pub fn open(directory: &Path) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::Directory { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { file: directory.join("state"), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(SnapshotError::InUse { path: directory.to_owned() })
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Reads the state. A damaged file or one of another version is set aside.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Loaded<T>, SnapshotError> {
        let bytes = match std::fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
            Err(source) => return Err(self.failed("read", source)),
        };
        match decode(&bytes) {
            Ok(state) => Ok(Loaded::State(Box::new(state))),
            Err(why) => {
                let to = self.file.with_extension("unreadable");
                std::fs::rename(&self.file, &to).map_err(|e| self.failed("set aside", e))?;
                Ok(Loaded::SetAside { to, why })
            }
        }
    }

    /// Replaces the state: after a crash at any moment the file holds the old state or the new one. What a crash leaves
    /// of the new one is overwritten by the next.
    pub fn save(&self, encoded: &[u8]) -> Result<(), SnapshotError> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        let new = self.file.with_extension("new");
        let write = || -> io::Result<()> {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(encoded)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.file)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| self.failed("write", source))
    }

    /// Notes up to which number events were told. It is small and often written, and not forced to the disk: after a
    /// crash of the machine what was told may be told again.
    pub fn mark(&self, told: u64) -> Result<(), SnapshotError> {
        let (file, new) = (self.file.with_file_name("told"), self.file.with_file_name("told.new"));
        let write = || {
            std::fs::write(&new, told.to_string())?;
            std::fs::rename(&new, &file)
        };
        write().map_err(|source| SnapshotError::File {
            attempt: "write",
            path: file.clone(),
            source,
        })
    }

    /// The number that was [noted](Self::mark); 0 where there is none that can be read.
    pub fn marked(&self) -> u64 {
        let text = std::fs::read_to_string(self.file.with_file_name("told")).unwrap_or_default();
        text.parse().unwrap_or(0)
    }

    fn failed(&self, attempt: &'static str, source: io::Error) -> SnapshotError {
        SnapshotError::File { attempt, path: self.file.clone(), source }
    }
}

/// The bytes of a state file: magic, version, checksum, state.
pub fn encode<T: Serialize>(state: &T) -> Result<Vec<u8>, SnapshotError> {
    let payload = postcard::to_allocvec(state).map_err(SnapshotError::Encode)?;
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&checksum(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// Reads the bytes of a state file; the error says what is wrong with them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("it is no kubestrata state")?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or("it ends in its header")?;
    let (sum, payload) = rest.split_first_chunk::<8>().ok_or("it ends in its header")?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(format!("it has version {version}, this kubestrata reads {VERSION}"));
    }
    if checksum(payload) != u64::from_le_bytes(*sum) {
        return Err("its checksum does not match: it is damaged".to_owned());
    }
    postcard::from_bytes(payload).map_err(|e| format!("it does not decode: {e}"))
}

/// Against torn and damaged files, not against malice.
fn checksum(bytes: &[u8]) -> u64 {
    stable_hash([bytes])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_the_directory_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(directory.path()).unwrap();
        assert!(matches!(snapshots.load::<Vec<u64>>().unwrap(), Loaded::Nothing));
        snapshots.save(&encode(&vec![1_u64, 2, 3]).unwrap()).unwrap();
        let Loaded::State(state) = snapshots.load::<Vec<u64>>().unwrap() else {
            panic!("no state")
        };
        assert_eq!(*state, [1, 2, 3]);
        let error = Snapshots::open(directory.path()).expect_err("held").to_string();
        assert!(error.contains("in use by another"), "{error}");
    }

    #[test]
    fn what_a_crash_left_half_written_is_overwritten_and_nothing_piles_up() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(directory.path()).unwrap();
        snapshots.save(&encode(&vec![1_u64]).unwrap()).unwrap();
        for state in 2..5_u64 {
            // A longer one than that which follows.
            std::fs::write(directory.path().join("state.new"), [7; 200]).unwrap();
            let Loaded::State(before) = snapshots.load::<Vec<u64>>().unwrap() else {
                panic!("no state")
            };
            assert_eq!(*before, [state - 1]);
            snapshots.save(&encode(&vec![state]).unwrap()).unwrap();
            let files = std::fs::read_dir(directory.path()).unwrap();
            let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
            files.sort();
            assert_eq!(files, ["lock", "state"]);
        }
    }

    #[test]
    fn a_mark_that_can_not_be_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(directory.path()).unwrap();
        assert_eq!(snapshots.marked(), 0);
        for told in [3, 70] {
            snapshots.mark(told).unwrap();
            assert_eq!(snapshots.marked(), told);
        }
        std::fs::write(directory.path().join("told"), "7x").unwrap();
        assert_eq!(snapshots.marked(), 0);
    }

    #[test]
    fn a_file_that_can_not_be_used_is_set_aside_with_the_reason() {
        let good = encode(&vec![1_u64, 2, 3]).unwrap();
        let mut newer = good.clone();
        newer[8] = 99;
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let cases = [
            (b"hello".to_vec(), "no kubestrata state"),
            (good[..10].to_vec(), "ends in its header"),
            (newer, "version 99"),
            (damaged, "checksum"),
        ];
        for (bytes, expected) in cases {
            let directory = tempfile::tempdir().unwrap();
            let snapshots = Snapshots::open(directory.path()).unwrap();
            std::fs::write(directory.path().join("state"), bytes).unwrap();
            match snapshots.load::<Vec<u64>>().unwrap() {
                Loaded::SetAside { to, why } => {
                    assert!(why.contains(expected), "{why}");
                    assert!(to.exists());
                }
                other => panic!("{other:?}"),
            }
            assert!(matches!(snapshots.load::<Vec<u64>>().unwrap(), Loaded::Nothing));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut headed = MAGIC.to_vec();
            headed.extend_from_slice(&VERSION.to_le_bytes());
            headed.extend_from_slice(&checksum(&bytes).to_le_bytes());
            headed.extend_from_slice(&bytes);
            let _ = decode::<Vec<(String, f64)>>(&headed);
        }
    }
}
