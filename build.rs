//! Tells the bindings which profile of Cargo built them, so that benchmarks can refuse all but `release`.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // OUT_DIR is TARGET/PROFILE/build/miqro-HASH/out. Cargo's own PROFILE is "release" for `ci` too.
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    let profile = Path::new(&out).ancestors().nth(3).and_then(Path::file_name).and_then(|name| name.to_str());
    println!("cargo::rustc-env=MIQRO_PROFILE={}", profile.unwrap_or("unknown"));
}
