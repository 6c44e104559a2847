//! What was last sent, over many steps and an advancing clock, against a list of all that was sent (C35).

use std::time::Duration;

use miqro::core::clock::{Clock, TestClock};
use miqro::core::dedup::Dedup;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// A publish with `only_if_changed`; the age in seconds, or `True`.
    IfChanged(u8, u8, Option<u64>),
    Plain(u8, u8),
    Forget(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, 0..3_u8, prop::option::of(0..4_u64)).prop_map(|(t, p, age)| Step::IfChanged(t, p, age)),
        2 => (0..3_u8, 0..3_u8).prop_map(|(t, p)| Step::Plain(t, p)),
        1 => (0..3_u8).prop_map(Step::Forget),
        2 => (0..4_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_message_is_left_out_exactly_if_it_equals_the_last_sent_and_is_young_enough(steps in steps()) {
        let clock = TestClock::default();
        let mut last = Dedup::default();
        // Per topic: every message sent since it is tracked, with its time.
        let mut sent: [Vec<(u8, Duration)>; 3] = Default::default();
        for step in steps {
            match step {
                Step::IfChanged(topic, payload, age) => {
                    let history = &mut sent[usize::from(topic)];
                    let age = age.map(Duration::from_secs);
                    let expected = history.last().is_some_and(|(newest, at)| {
                        *newest == payload && age.is_none_or(|age| *at + age > clock.now())
                    });
                    let name = topic.to_string();
                    prop_assert_eq!(last.unchanged(&name, &[payload], age, clock.now()), expected);
                    if !expected {
                        last.note(&name, &[payload], clock.now());
                        history.push((payload, clock.now()));
                    }
                }
                Step::Plain(topic, payload) => {
                    let history = &mut sent[usize::from(topic)];
                    let tracked = last.note_if_tracked(&topic.to_string(), &[payload], clock.now());
                    prop_assert_eq!(tracked, !history.is_empty());
                    if tracked {
                        history.push((payload, clock.now()));
                    }
                }
                Step::Forget(topic) => {
                    let newest = sent[usize::from(topic)].last().map(|(payload, _)| vec![*payload]);
                    prop_assert_eq!(last.forget(&topic.to_string()), newest);
                    sent[usize::from(topic)].clear();
                }
                Step::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
            }
            prop_assert_eq!(last.len(), sent.iter().filter(|history| !history.is_empty()).count());
        }
    }
}
