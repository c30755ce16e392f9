//! A directory for a test, gone with it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::walk::{Base, Place};

/// The directory.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    pub fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ctr-copy-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    /// A path in it.
    pub fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// A directory in it, made if need be.
    pub fn dir(&self, path: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A directory in it, open.
    pub fn open(&self, path: &str) -> OwnedFd {
        fs::File::open(self.dir(path)).unwrap().into()
    }

    /// A place in it, seen from `root` in it.
    pub fn place(&self, root: &str, path: &str) -> Place {
        Place::find(Base::Root(self.open(root).as_fd()), path.as_bytes(), false).unwrap()
    }

    /// What is in a file.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|e| format!("{path}: {e}"))
    }

    /// All paths below a directory, in order.
    pub fn all(&self, path: &str) -> Vec<String> {
        fn add(top: &Path, dir: &Path, all: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                all.push(entry.path().strip_prefix(top).unwrap().to_str().unwrap().to_owned());
                if entry.file_type().unwrap().is_dir() {
                    add(top, &entry.path(), all);
                }
            }
        }
        let mut all = Vec::new();
        add(&self.at(path), &self.at(path), &mut all);
        all.sort();
        all
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
