//! Topics and filters against a matcher and a checker written as the specification reads (C13, C37).

use miqro::core::topic::{check_filter, check_topic, matches, remainder, split_share};
use proptest::prelude::*;

/// Section 4.7 word for word: a filter of levels against a topic of levels.
pub fn naive_matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => naive_matches(filter, topic),
        ([level, filter @ ..], [found, topic @ ..]) => level == found && naive_matches(filter, topic),
        _ => false,
    }
}

/// The same with `$share/group/` and the rule about `$`.
pub fn naive(filter: &str, topic: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let levels = if levels[0] == "$share" && levels.len() > 2 { &levels[2..] } else { &levels[..] };
    if topic.starts_with('$') && matches!(levels[0], "+" | "#") {
        return false;
    }
    naive_matches(levels, &topic.split('/').collect::<Vec<_>>())
}

/// Few names, so that they meet; empty levels and `$` among them.
pub fn topics() -> impl Strategy<Value = String> {
    let level = prop_oneof![4 => "[ab]", 1 => Just(String::new()), 1 => Just("$SYS".to_owned()), 1 => Just("ä".to_owned())];
    prop::collection::vec(level, 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

pub fn filters() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        4 => "[ab]",
        3 => Just("+".to_owned()),
        1 => Just(String::new()),
        1 => Just("$SYS".to_owned()),
        1 => Just("ä".to_owned())
    ];
    let share = prop_oneof![5 => Just(""), 1 => Just("$share/g/")];
    (share, prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(share, mut levels, hash)| {
            if hash {
                levels.push("#".to_owned());
            }
            format!("{share}{}", levels.join("/"))
        })
        .prop_filter("a filter is not empty", |filter| !filter.is_empty() && filter != "$share/g/")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn matching_agrees_with_the_specification(filter in filters(), topic in topics()) {
        prop_assert_eq!(check_filter(&filter), Ok(()));
        prop_assert_eq!(check_topic(&topic), Ok(()));
        prop_assert_eq!(matches(&filter, &topic), naive(&filter, &topic));
    }

    #[test]
    fn the_remainder_is_the_topic_without_the_levels_before_the_hash(filter in filters(), topic in topics()) {
        let (_, matched) = split_share(&filter);
        let expected = (matched.ends_with('#') && naive(&filter, &topic)).then(|| {
            let levels: Vec<&str> = topic.split('/').collect();
            levels[matched.matches('/').count().min(levels.len())..].join("/")
        });
        prop_assert_eq!(remainder(&filter, &topic).map(|at| topic[at..].to_owned()), expected);
    }

    #[test]
    fn a_filter_is_valid_where_every_level_is(text in "[a+#/\0]{0,8}") {
        let levels: Vec<&str> = text.split('/').collect();
        let last = levels.len() - 1;
        let level_is_valid = |(at, level): (usize, &&str)| match *level {
            "+" => true,
            "#" => at == last,
            other => !other.contains(['+', '#', '\0']),
        };
        let valid = !text.is_empty() && levels.iter().enumerate().all(level_is_valid);
        prop_assert_eq!(check_filter(&text).is_ok(), valid);
        prop_assert_eq!(check_filter(&format!("$share/group/{text}")).is_ok(), valid);
        prop_assert_eq!(check_topic(&text).is_ok(), !text.is_empty() && !text.contains(['+', '#', '\0']));
    }

    #[test]
    fn no_text_makes_the_checks_or_the_matcher_panic(filter in any::<String>(), topic in any::<String>()) {
        prop_assert!(check_filter(&filter).is_ok() || !check_filter(&filter).unwrap_err().to_string().is_empty());
        prop_assert!(check_topic(&topic).is_ok() || !check_topic(&topic).unwrap_err().to_string().is_empty());
        if let Some(at) = remainder(&filter, &topic) {
            prop_assert!(topic.is_char_boundary(at));
        }
    }
}
