//! What a configuration takes from outside its file: the environment, other files.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::core::state_file::reason;
use crate::core::yaml::Surroundings;

/// The environment and the files of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Surroundings for System {
    fn variable(&self, name: &str) -> Option<OsString> {
        env::var_os(name)
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // A pipe or a device could keep us waiting for ever.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a file"));
        }
        let mut content = Vec::new();
        File::open(path)?.take(limit as u64 + 1).read_to_end(&mut content)?;
        Ok(content)
    }
}

/// Reads a password from a file: all of it, without the line break at the end.
///
/// # Errors
/// A sentence that says why there is none. The password is not in it.
pub fn read_password(path: &Path) -> Result<String, String> {
    const MOST: usize = 65_535;
    let shown = path.display();
    let content = System.read(path, MOST).map_err(|error| {
        format!(
            "the password cannot be read from {shown}: {}; correct the path, or the rights",
            reason(&error).1
        )
    })?;
    if content.len() > MOST {
        return Err(format!(
            "{shown} is too long for a password, which has {MOST} bytes at most; correct the path"
        ));
    }
    let mut password = String::from_utf8(content)
        .map_err(|_| format!("the password in {shown} is not UTF-8; write it anew"))?;
    if password.ends_with('\n') {
        password.pop();
        if password.ends_with('\r') {
            password.pop();
        }
    }
    if password.is_empty() {
        return Err(format!("{shown} is empty; write the password into it"));
    }
    Ok(password)
}
