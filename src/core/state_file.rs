//! A file that is replaced as a whole: after a crash, at any moment, it holds the old content or the new one
//! (contract C56).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use super::lock_file::{LockFile, NotLocked};

/// A state file on disk.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    lock: Mutex<Option<LockFile>>,
}

/// What became of the attempt to lock a state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// It is ours.
    Held,
    /// Another process has it: its number, where known.
    Taken(Option<u32>),
    /// There can be no lock: no folder, or no right to write in it.
    Unavailable,
}

impl StateFile {
    /// The state file of this name. Nothing is touched yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lock: Mutex::new(None) }
    }

    /// The file as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder of the file, and those above it, where they are missing.
    ///
    /// # Errors
    /// Those of the system: no permission, a read-only file system, a file in the way.
    pub fn make_folder(&self) -> io::Result<()> {
        let folder = folder(&self.path);
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        sync_folder(self::folder(folder))
    }

    /// Reads the file, at most `limit` bytes and one more, which tells that there is more; `None` where there is no file.
    ///
    /// # Errors
    /// Those of the system.
    pub fn read(&self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = if_there(File::open(&self.path))? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Replaces the content of the file, and returns when it is on the disk. Mode and owner of a file that exists are
    /// kept, a new one is for its owner only. A symbolic link stays one: the file it leads to is replaced.
    ///
    /// # Errors
    /// Those of the system. The file then has its old content, unless only the last step failed, the sync of the folder.
    pub fn write(&self, content: &[u8]) -> io::Result<()> {
        self.make_folder()?;
        let target = self.target()?;
        let temporary = temporary_name(&target);
        let old = if_there(fs::metadata(&target))?;
        let written =
            write_temporary(&temporary, content, old.as_ref()).and_then(|()| fs::rename(&temporary, &target));
        if let Err(error) = written {
            // It may not even exist; the error to report is the first one.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        sync_folder(folder(&target))
    }

    /// Moves the file to the same name with `.broken` added, and one that has this name already to `.broken.1`.
    /// Gives the new name.
    ///
    /// # Errors
    /// Those of the system.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = with_suffix(&self.path, ".broken");
        if if_there(fs::symlink_metadata(&aside))?.is_some() {
            fs::rename(&aside, with_suffix(&self.path, ".broken.1"))?;
        }
        fs::rename(&self.path, &aside)?;
        sync_folder(folder(&self.path))?;
        Ok(aside)
    }

    /// Takes the lock that tells other processes that this file is in use. It is advisory, and held until the value is
    /// dropped or the process ends, however it ends. Taking it again is no error.
    pub fn lock(&self) -> Locking {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Locking::Held;
        }
        match LockFile::take(&hidden(&self.path, ".lock")) {
            Ok(lock) => {
                self.remove_leftovers();
                *held = Some(lock);
                Locking::Held
            }
            // Another state of this process: it is not "another process".
            Err(NotLocked::Taken(Some(pid))) if pid == process::id() => Locking::Held,
            Err(NotLocked::Taken(pid)) => Locking::Taken(pid),
            Err(NotLocked::Unavailable) => Locking::Unavailable,
        }
    }

    /// Removes temporary files of processes that were killed while they saved. Called with the lock held.
    fn remove_leftovers(&self) {
        let Ok(target) = self.target() else { return };
        let start = hidden(&target, TEMPORARY);
        let start = start.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(entries) = fs::read_dir(folder(&target)) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&start) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The file itself, symbolic links followed.
    fn target(&self) -> io::Result<PathBuf> {
        Ok(if_there(fs::canonicalize(&self.path))?.unwrap_or_else(|| self.path.clone()))
    }
}

/// `None` where there is no such file. Not where a disk fails: what is there would lose its mode, or its link.
pub(super) fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of an error of the system, where it has one, and its text without the number.
pub fn reason(error: &io::Error) -> (Option<i32>, String) {
    match error.raw_os_error() {
        Some(number) => (Some(number), Errno::from_raw(number).desc().to_owned()),
        None => (None, error.to_string()),
    }
}

const TEMPORARY: &str = ".tmp-";

fn write_temporary(temporary: &Path, content: &[u8], old: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(content)?;
    if let Some(old) = old {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            // Only root may give files away. A state saved under another owner is better than none.
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    file.sync_all()
}

/// Makes a rename in a folder durable. Some file systems cannot, and say so by EINVAL.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

fn temporary_name(target: &Path) -> PathBuf {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    hidden(target, &format!("{TEMPORARY}{}-{number}", process::id()))
}

pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// `.name<suffix>` in the same folder.
pub(super) fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}
