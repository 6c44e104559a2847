//! The state file on disk (C56).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use miqro::core::state_file::{Locking, StateFile, reason};

use crate::folder::Folder;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_file_is_for_its_owner_and_nothing_else_is_left() {
    let folder = Folder::new("state");
    let file = StateFile::new(folder.join("a/b/echo.yaml"));
    assert_eq!(file.read(100).unwrap(), None);
    file.write(b"a: 1\n").unwrap();
    assert_eq!(file.read(100).unwrap().unwrap(), b"a: 1\n");
    assert_eq!(mode(file.path()), 0o600);
    assert_eq!(fs::read_dir(folder.join("a/b")).unwrap().count(), 1);
}

#[test]
fn the_mode_of_a_file_is_kept() {
    let folder = Folder::new("state");
    let path = folder.join("echo.yaml");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    StateFile::new(&path).write(b"new").unwrap();
    assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o640, b"new".to_vec()));
}

#[test]
fn a_symbolic_link_stays_one() {
    let folder = Folder::new("state");
    fs::write(folder.join("real"), "old").unwrap();
    symlink("real", folder.join("echo.yaml")).unwrap();
    StateFile::new(folder.join("echo.yaml")).write(b"new").unwrap();
    assert_eq!(fs::read(folder.join("real")).unwrap(), b"new");
    assert!(fs::symlink_metadata(folder.join("echo.yaml")).unwrap().is_symlink());
}

#[test]
fn a_write_that_fails_leaves_the_old_content_and_no_temporary_file() {
    let folder = Folder::new("state");
    // A folder in the file's place: the content can be written, but not renamed.
    fs::create_dir_all(folder.join("echo.yaml/full")).unwrap();
    let error = StateFile::new(folder.join("echo.yaml")).write(b"new").unwrap_err();
    assert!(reason(&error).0.is_some());
    assert_eq!(folder.names(), ["echo.yaml"]);
    // A file where a folder should be.
    fs::write(folder.join("file"), "").unwrap();
    assert!(StateFile::new(folder.join("file/echo.yaml")).write(b"new").is_err());
    assert!(StateFile::new(folder.join("file/echo.yaml")).make_folder().is_err());
}

#[test]
fn reading_stops_one_byte_over_the_limit() {
    let folder = Folder::new("state");
    fs::write(folder.join("echo.yaml"), "0123456789").unwrap();
    let file = StateFile::new(folder.join("echo.yaml"));
    assert_eq!(file.read(4).unwrap().unwrap(), b"01234");
    assert_eq!(file.read(10).unwrap().unwrap().len(), 10);
}

#[test]
fn a_file_is_set_aside_and_so_is_the_one_before_it() {
    let folder = Folder::new("state");
    let file = StateFile::new(folder.join("echo.yaml"));
    for content in ["one", "two", "three"] {
        fs::write(file.path(), content).unwrap();
        assert_eq!(file.set_aside().unwrap(), folder.join("echo.yaml.broken"));
    }
    assert_eq!(folder.names(), ["echo.yaml.broken", "echo.yaml.broken.1"]);
    assert_eq!(fs::read(folder.join("echo.yaml.broken")).unwrap(), b"three");
    assert_eq!(fs::read(folder.join("echo.yaml.broken.1")).unwrap(), b"two");
    assert!(file.set_aside().is_err());
}

#[test]
fn the_lock_is_held_once_per_process_and_leftovers_go_with_it() {
    let folder = Folder::new("state");
    fs::write(folder.join(".echo.yaml.tmp-1-0"), "half").unwrap();
    fs::write(folder.join(".other.yaml.tmp-1-0"), "half").unwrap();
    let first = StateFile::new(folder.join("echo.yaml"));
    let second = StateFile::new(folder.join("echo.yaml"));
    assert_eq!((first.lock(), first.lock(), second.lock()), (Locking::Held, Locking::Held, Locking::Held));
    assert_eq!(folder.names(), [".echo.yaml.lock", ".other.yaml.tmp-1-0"]);
    // The number of another process in the file of a lock that is held: it is that process's.
    fs::write(folder.join(".echo.yaml.lock"), "1\n").unwrap();
    assert_eq!(second.lock(), Locking::Taken(Some(1)));
    drop(first);
    assert_eq!(second.lock(), Locking::Held);
    assert_eq!(StateFile::new(folder.join("nowhere/echo.yaml")).lock(), Locking::Unavailable);
}
