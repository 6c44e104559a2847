//! A file that says that another one is in use: an advisory lock, held until it is dropped or the process ends,
//! however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The lock, while it lives.
#[derive(Debug)]
pub struct LockFile(Option<Flock<File>>);

/// Why there is no lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotLocked {
    /// Somebody has it: the number of the process, where known. It may be this one.
    Taken(Option<u32>),
    /// There can be none: no folder, no right to write in it, or a file system without locks.
    Unavailable,
}

impl LockFile {
    /// Takes the lock, and never waits for it. The file is made where there is none, and stays.
    ///
    /// # Errors
    /// [`NotLocked`].
    pub fn take(path: &Path) -> Result<Self, NotLocked> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|_| NotLocked::Unavailable)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // Who holds it is for the other one's message only: without it the lock is as good.
                let _ = file.set_len(0).and_then(|()| writeln!(*file, "{}", process::id()));
                Ok(Self(Some(file)))
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                Err(NotLocked::Taken(holder.trim().parse().ok()))
            }
            Err(_) => Err(NotLocked::Unavailable),
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if let Some(Err((lock, _))) = self.0.take().map(Flock::unlock) {
            // It would panic when it is dropped. The system takes the lock back at the end of the process.
            std::mem::forget(lock);
        }
    }
}
