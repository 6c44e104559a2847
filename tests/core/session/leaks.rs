//! A thousand sessions leave nothing behind (design section 4).

use std::process::Command;
use std::time::{Duration, Instant};

use miqro::core::session::message::QoS;

use super::{Broker, Client, PATIENCE};

const CYCLES: usize = 1000;

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// In a process of its own, for the tests beside it have threads and descriptors too.
#[test]
#[cfg(target_os = "linux")]
fn a_thousand_sessions_leave_no_thread_and_no_descriptor_behind() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "session::leaks::a_thousand_cycles_in_a_process_of_their_own",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run by the test above"]
fn a_thousand_cycles_in_a_process_of_their_own() {
    let broker = Broker::new();
    let port = broker.port();
    let closed = Broker::new().port();
    let server = std::thread::spawn(move || {
        for _ in 0..CYCLES / 2 {
            broker.welcome().rest();
        }
    });
    let mut before = (0, 0);
    for cycle in 0..CYCLES {
        if cycle == 20 {
            before = (count("/proc/self/task"), count("/proc/self/fd"));
        }
        // Half of them find a broker; some are closed, some are only dropped, some have something to say.
        let client = if cycle % 2 == 0 {
            let mut client = Client::started(port, |_| {});
            client.event();
            client
        } else {
            Client::started(closed, |_| {})
        };
        client.publish("t", "", QoS::AtMostOnce);
        if cycle % 3 > 0 {
            client.session.close(Duration::from_millis(50));
        }
        client.wait_for_the_end_of_the_thread();
    }
    // The kernel takes a moment to bury the last thread.
    let deadline = Instant::now() + PATIENCE;
    while count("/proc/self/task") > before.0 {
        assert!(Instant::now() < deadline, "{} threads, and {} before", count("/proc/self/task"), before.0);
        std::thread::yield_now();
    }
    // The listener and the connections of the broker's thread come and go.
    server.join().unwrap();
    assert!(
        count("/proc/self/fd") <= before.1,
        "{} descriptors, and {} before",
        count("/proc/self/fd"),
        before.1
    );
}
