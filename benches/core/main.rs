//! How long the engine's hot paths take, without Python: `make bench-core`, or `cargo bench --bench core -- router`.
//!
//! The numbers are per turn of [`work::Row::count`] messages; throughput is per message.

mod work;

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for mut row in work::rows() {
        let (subject, name) = row.name.split_once('/').unwrap_or(("other", row.name));
        let mut group = criterion.benchmark_group(subject);
        group.throughput(Throughput::Elements(row.count as u64));
        group.bench_function(name, |bencher| bencher.iter(|| (row.turn)()));
        group.finish();
    }
    criterion.final_summary();
}
