//! Happy eyeballs: several addresses of one name tried at once, the first to answer wins (RFC 8305).

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;

/// How long one address may keep the next one waiting: the "connection attempt delay" of RFC 8305 section 5.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Starts an `attempt` at each address in turn, [`ATTEMPT_DELAY`] apart or as soon as one fails, until one
/// succeeds; the others are dropped then. `None`: all have failed. Failures go into `failures` as they happen.
pub async fn race<T, E, F>(
    addresses: Vec<SocketAddr>,
    failures: &mut Vec<(SocketAddr, E)>,
    attempt: impl Fn(SocketAddr) -> F,
) -> Option<T>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    loop {
        if let Some(address) = waiting.next() {
            let attempt = attempt(address);
            attempts.spawn(async move { attempt.await.map_err(|error| (address, error)) });
        }
        let finished = if waiting.len() > 0 {
            match tokio::time::timeout(ATTEMPT_DELAY, attempts.join_next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match finished {
            Some(Ok(Ok(winner))) => return Some(winner),
            Some(Ok(Err(failure))) => failures.push(failure),
            None if waiting.len() == 0 => return None,
            Some(Err(_)) | None => {}
        }
    }
}

/// Addresses of both families in turn, in the order in which the resolver prefers them (RFC 8305 section 4).
pub fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut mixed = Vec::new();
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    loop {
        match (preferred.next(), other.next()) {
            (None, None) => return mixed,
            (one, two) => mixed.extend(one.into_iter().chain(two)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use tokio::time::{Instant, sleep};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_starting_with_the_preferred_one() {
        let a = address;
        let mixed =
            interleave(vec![a("[::1]:1"), a("[::2]:1"), a("1.1.1.1:1"), a("2.2.2.2:1"), a("3.3.3.3:1")]);
        let expected = vec![a("[::1]:1"), a("1.1.1.1:1"), a("[::2]:1"), a("2.2.2.2:1"), a("3.3.3.3:1")];
        assert_eq!(mixed, expected);
    }

    /// Says when the attempt it lives in is dropped.
    struct Dropped(Arc<Mutex<usize>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }

    /// C43, RFC 8305 section 5: an address without an answer costs a quarter of a second, not a connect timeout.
    #[tokio::test(start_paused = true)]
    async fn a_silent_address_delays_the_next_one_by_a_quarter_of_a_second() {
        let dropped = Arc::new(Mutex::new(0));
        let (begin, mut failures) = (Instant::now(), Vec::<(SocketAddr, ())>::new());
        let addresses =
            vec![address("[::1]:1"), address("[::2]:1"), address("1.1.1.1:1"), address("1.1.1.2:1")];
        let winner = race(addresses, &mut failures, |address| {
            let guard = Dropped(Arc::clone(&dropped));
            async move {
                if address.is_ipv6() {
                    let _guard = guard;
                    pending::<()>().await;
                }
                Ok((address, Instant::now()))
            }
        })
        .await;
        let (address, when) = winner.expect("one answers");
        assert_eq!(address.to_string(), "1.1.1.1:1");
        assert_eq!(when - begin, 2 * ATTEMPT_DELAY);
        // The abandoned ones are dropped as soon as the runtime gets to it.
        tokio::task::yield_now().await;
        assert_eq!(*dropped.lock().unwrap(), 3, "the winner's guard, and those of the two silent ones");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_makes_the_next_one_start_at_once() {
        let (begin, mut failures) = (Instant::now(), Vec::new());
        let addresses = vec![address("1.1.1.1:1"), address("1.1.1.2:1"), address("1.1.1.3:1")];
        let winner = race(addresses.clone(), &mut failures, |address| async move {
            if address.to_string() == "1.1.1.3:1" { Ok(()) } else { Err("refused") }
        })
        .await;
        assert_eq!((winner, begin.elapsed()), (Some(()), Duration::ZERO));
        assert_eq!(failures, [(addresses[0], "refused"), (addresses[1], "refused")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_may_still_win() {
        let mut failures = Vec::<(SocketAddr, ())>::new();
        let addresses = vec![address("1.1.1.1:1"), address("1.1.1.2:1")];
        let winner = race(addresses, &mut failures, |address| async move {
            let first = address.to_string() == "1.1.1.1:1";
            sleep(Duration::from_millis(if first { 400 } else { 300 })).await;
            Ok(address)
        })
        .await;
        assert_eq!(winner, Some(address("1.1.1.1:1")), "400 ms from the start are before 250 + 300");
    }

    #[tokio::test(start_paused = true)]
    async fn all_failures_are_told() {
        let mut failures = Vec::new();
        let addresses = vec![address("1.1.1.1:1"), address("1.1.1.2:1")];
        let winner = race::<(), _, _>(addresses, &mut failures, |_| async { Err("no") }).await;
        assert_eq!((winner, failures.len()), (None, 2));
    }
}
