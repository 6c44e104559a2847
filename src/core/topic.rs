//! MQTT topics and topic filters: which are valid, and which match (contract C13, C37; MQTT 3.1.1, section 4.7).

/// The longest topic or filter, in bytes of UTF-8: its length travels in 16 bits.
pub const MAX_BYTES: usize = 65_535;

/// A topic nobody may publish to, or a filter nobody may subscribe to. The text says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// A topic without a character.
    #[error("the topic is empty: give it at least one character")]
    EmptyTopic,
    /// A filter without a character, be it after `$share/group/`.
    #[error("the topic filter `{}` is empty: name a topic, or use `#` for all", shown(.filter))]
    EmptyFilter {
        /// The filter as given.
        filter: String,
    },
    /// More than [`MAX_BYTES`].
    #[error("the topic `{}` has {} bytes, but MQTT ends at 65,535: shorten it", shown(.topic), .topic.len())]
    TooLong {
        /// The topic or filter as given.
        topic: String,
    },
    /// A NUL character, which MQTT forbids in every text.
    #[error("the topic `{}` contains a NUL character, which MQTT forbids: remove it", shown(.topic))]
    Nul {
        /// The topic or filter as given.
        topic: String,
    },
    /// A wildcard in a topic to publish to.
    #[error(
        "the topic `{}` contains `{wildcard}`, a wildcard of subscriptions: publish to one topic by its full name",
        shown(.topic)
    )]
    Wildcard {
        /// The topic as given.
        topic: String,
        /// `+` or `#`.
        wildcard: char,
    },
    /// A `+` or `#` that shares its level with other characters.
    #[error(
        "the topic filter `{}` is invalid: `{wildcard}` must stand alone between slashes, as in `room/{wildcard}`",
        shown(.filter)
    )]
    WildcardNotAlone {
        /// The filter as given.
        filter: String,
        /// `+` or `#`.
        wildcard: char,
    },
    /// A `#` before the last level.
    #[error("the topic filter `{}` is invalid: `#` must be its last level; use `+` for one level", shown(.filter))]
    HashNotLast {
        /// The filter as given.
        filter: String,
    },
    /// A shared subscription that is not `$share/group/filter`.
    #[error(
        "the shared subscription `{}` is invalid: write `$share/group/filter`, the group without `+` and `#`",
        shown(.filter)
    )]
    Share {
        /// The filter as given.
        filter: String,
    },
    /// The router has given away all of its 2^32 handler ids.
    #[error("no handler can be added: this process has registered more than four billion")]
    TooManyHandlers,
}

/// A topic for an error message: its start, with control characters made visible.
fn shown(topic: &str) -> String {
    const SHOWN: usize = 80;
    let mut text: String = topic.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if topic.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

/// Whether `topic` may be published to.
///
/// # Errors
/// [`TopicError`] for an empty topic, a wildcard, a NUL, and more than [`MAX_BYTES`] (contract C37).
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::EmptyTopic);
    }
    check_text(topic)?;
    match topic.chars().find(|c| matches!(c, '+' | '#')) {
        Some(wildcard) => Err(TopicError::Wildcard { topic: topic.to_owned(), wildcard }),
        None => Ok(()),
    }
}

/// What topics and filters have in common: their length, and no NUL.
fn check_text(topic: &str) -> Result<(), TopicError> {
    if topic.len() > MAX_BYTES {
        return Err(TopicError::TooLong { topic: topic.to_owned() });
    }
    if topic.contains('\0') {
        return Err(TopicError::Nul { topic: topic.to_owned() });
    }
    Ok(())
}

/// Whether `filter` may be subscribed to. `$share/group/filter` is looked at as both.
///
/// # Errors
/// [`TopicError`] for an empty filter, a NUL, more than [`MAX_BYTES`], a misplaced wildcard, and a malformed
/// shared subscription (contract C13).
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    let owned = || filter.to_owned();
    check_text(filter)?;
    if filter.starts_with(SHARE) {
        match split_share(filter) {
            (Some(group), _) if !group.is_empty() && !group.contains(['+', '#']) => {}
            _ => return Err(TopicError::Share { filter: owned() }),
        }
    }
    let matched = matched_part(filter);
    if matched.is_empty() {
        return Err(TopicError::EmptyFilter { filter: owned() });
    }
    let mut levels = matched.split('/').peekable();
    while let Some(level) = levels.next() {
        match level {
            "+" => {}
            "#" if levels.peek().is_none() => {}
            "#" => return Err(TopicError::HashNotLast { filter: owned() }),
            _ => {
                if let Some(wildcard) = level.chars().find(|c| matches!(c, '+' | '#')) {
                    return Err(TopicError::WildcardNotAlone { filter: owned(), wildcard });
                }
            }
        }
    }
    Ok(())
}

const SHARE: &str = "$share/";

/// The group of a shared subscription and the filter it shares; without a group, `None` and the filter itself.
pub fn split_share(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix(SHARE).and_then(|rest| rest.split_once('/')) {
        Some((group, shared)) => (Some(group), shared),
        None => (None, filter),
    }
}

/// The part of a filter that topics are compared with: all of it, or what follows `$share/group/`.
pub fn matched_part(filter: &str) -> &str {
    split_share(filter).1
}

/// Whether a message on `topic` belongs to a valid `filter`: `+` stands for one level, `#` for any number of
/// them and the level above, and neither, standing first, for a level that starts with `$`.
pub fn matches(filter: &str, topic: &str) -> bool {
    let filter = matched_part(filter);
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for level in filter.split('/') {
        match (level, topic_levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (literal, Some(found)) if literal == found => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Where the part of `topic` that the `#` of `filter` stands for begins, in bytes: `set/#` and `set/a/b` give 4.
/// The end of `topic` where `#` stands for nothing (`set/#` and `set`), `None` where the filter has no `#` or does
/// not match.
pub fn remainder(filter: &str, topic: &str) -> Option<usize> {
    let matched = matched_part(filter);
    if !matched.ends_with('#') || !matches(filter, topic) {
        return None;
    }
    let levels = matched.matches('/').count();
    if levels == 0 {
        return Some(0);
    }
    let slash = topic.match_indices('/').nth(levels - 1);
    Some(slash.map_or(topic.len(), |(at, _)| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_topics_are_refused_for_what_mqtt_forbids() {
        for good in ["a", "/", "a b/ä", "$SYS/x", "service/x/online"] {
            assert_eq!(check_topic(good), Ok(()));
        }
        assert_eq!(check_topic(""), Err(TopicError::EmptyTopic));
        assert!(matches!(check_topic("a/+/b"), Err(TopicError::Wildcard { wildcard: '+', .. })));
        assert!(matches!(check_topic("a#"), Err(TopicError::Wildcard { wildcard: '#', .. })));
        assert!(matches!(check_topic("a\0"), Err(TopicError::Nul { .. })));
        assert_eq!(check_topic(&"x".repeat(MAX_BYTES)), Ok(()));
        assert!(matches!(check_topic(&"x".repeat(MAX_BYTES + 1)), Err(TopicError::TooLong { .. })));
        assert!(check_topic(&"ä".repeat(MAX_BYTES / 2 + 1)).is_err(), "the limit counts bytes");
    }

    #[test]
    fn errors_name_the_topic_visibly_and_in_part() {
        let text = check_topic("a\0b").unwrap_err().to_string();
        assert!(text.contains(r"`a\0b`"), "{text}");
        let text = check_topic(&"x".repeat(70_000)).unwrap_err().to_string();
        assert!(text.contains("70000 bytes") && text.len() < 250, "{text}");
    }

    #[test]
    fn filters_keep_their_wildcards_alone_and_last() {
        for good in ["#", "+", "+/+/#", "/", "a/+/b", "a/#", "$SYS/#", "$share/g/a/#", "$share/g//", "$share"]
        {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        let wrong = |filter| check_filter(filter).unwrap_err();
        assert!(matches!(wrong(""), TopicError::EmptyFilter { .. }));
        assert!(matches!(wrong("a+"), TopicError::WildcardNotAlone { wildcard: '+', .. }));
        assert!(matches!(wrong("a/b#"), TopicError::WildcardNotAlone { wildcard: '#', .. }));
        assert!(matches!(wrong("#/a"), TopicError::HashNotLast { .. }));
        assert!(matches!(wrong("a/##"), TopicError::WildcardNotAlone { .. }));
        assert!(matches!(wrong("a\0"), TopicError::Nul { .. }));
        for share in ["$share/", "$share/g", "$share//a", "$share/+/a", "$share/g#/a"] {
            assert!(matches!(wrong(share), TopicError::Share { .. }), "{share}");
        }
        assert!(matches!(wrong("$share/g/"), TopicError::EmptyFilter { .. }));
        assert!(matches!(wrong("$share/g/#/a"), TopicError::HashNotLast { .. }));
    }

    #[test]
    fn matching_follows_section_4_7() {
        let yes = [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("#", "a/b"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS"),
            ("$SYS/+", "$SYS/x"),
            ("$share/g/sport/+", "sport/x"),
            ("+/b/#", "a/b"),
        ];
        let no = [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("$share/g/#", "$SYS/x"),
            ("sport/#", "sports"),
            ("a", "A"),
            ("a/b", "a"),
        ];
        for (filter, topic) in yes {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in no {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn the_remainder_is_what_the_hash_stands_for() {
        let rest = |filter, topic: &'static str| remainder(filter, topic).map(|at| &topic[at..]);
        assert_eq!(rest("set/#", "set/a/b"), Some("a/b"));
        assert_eq!(rest("set/#", "set"), Some(""));
        assert_eq!(rest("set/#", "set/"), Some(""));
        assert_eq!(rest("#", "a/b"), Some("a/b"));
        assert_eq!(rest("+/x/#", "a/x/c"), Some("c"));
        assert_eq!(rest("$share/g/set/#", "set/1"), Some("1"));
        assert_eq!(rest("set/+", "set/a"), None);
        assert_eq!(rest("set/#", "get/a"), None);
    }
}
