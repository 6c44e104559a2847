//! The router against asking every filter in turn (C13).

use miqro::core::router::{HandlerId, Match, Router};
use miqro::core::topic::remainder;
use proptest::prelude::*;

use crate::topic::{filters, naive, topics};

#[derive(Clone, Debug)]
enum Step {
    Add(String, bool),
    /// Removes the handler at this place among those there are.
    Remove(prop::sample::Index),
    Route(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (filters(), any::<bool>()).prop_map(|(filter, global)| Step::Add(filter, global)),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        3 => topics().prop_map(Step::Route),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn routing_agrees_with_asking_every_filter(steps in steps()) {
        let mut router = Router::default();
        let mut model: Vec<(HandlerId, String, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Add(filter, global) => {
                    let id = router.add(&filter, global).unwrap();
                    prop_assert!(model.iter().all(|(other, ..)| *other < id));
                    model.push((id, filter, global));
                }
                Step::Remove(_) if model.is_empty() => prop_assert!(!router.remove(HandlerId(0))),
                Step::Remove(index) => {
                    let (id, ..) = model.remove(index.index(model.len()));
                    prop_assert!(router.remove(id));
                    prop_assert!(!router.remove(id));
                }
                Step::Route(topic) => {
                    let hits = |wanted: bool| {
                        model
                            .iter()
                            .filter(move |(_, _, global)| *global == wanted)
                            .filter(|(_, filter, _)| naive(filter, &topic))
                            .map(|(id, filter, _)| Match { id: *id, remainder: remainder(filter, &topic) })
                    };
                    let expected: Vec<Match> = hits(true).chain(hits(false)).collect();
                    prop_assert_eq!(router.route(&topic), expected);
                }
            }
            let mut distinct: Vec<&str> = Vec::new();
            for (_, filter, _) in &model {
                if !distinct.contains(&filter.as_str()) {
                    distinct.push(filter);
                }
            }
            prop_assert_eq!(router.filters(), distinct);
            prop_assert_eq!((router.len(), router.is_empty()), (model.len(), model.is_empty()));
        }
    }
}

#[test]
fn ten_thousand_handlers_are_each_found_alone() {
    let mut router = Router::default();
    for n in 0..10_000 {
        let filter = match n % 3 {
            0 => format!("room/{n}/light"),
            1 => format!("room/{n}/+"),
            _ => format!("room/{n}/#"),
        };
        router.add(&filter, false).unwrap();
    }
    for n in 0..10_000 {
        let found = router.route(&format!("room/{n}/light"));
        assert_eq!(found.iter().map(|it| it.id).collect::<Vec<_>>(), [HandlerId(n)]);
    }
}
