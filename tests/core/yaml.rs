//! Reading YAML (C57). The differential test against PyYAML is `tests/test_yaml.py`; here is what needs no Python.
use std::fmt::Write;

use miqro::core::yaml::{Date, DateTime, Document, Int, Limits, Mark, Step, Value, load};
use proptest::prelude::*;

fn read(text: &str) -> Document {
    load(text.as_bytes(), "test.yml", &Limits::default()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refusal(text: &str) -> String {
    match load(text.as_bytes(), "test.yml", &Limits::default()) {
        Ok(_) => panic!("{text:?} was read"),
        Err(error) => error.to_string(),
    }
}

fn value(text: &str) -> Value {
    let document = read(text);
    document.value(document.root().unwrap()).clone()
}

fn int(text: &str) -> String {
    match value(text) {
        Value::Int(Int::Small(small)) => small.to_string(),
        Value::Int(Int::Big(big)) => big.to_decimal(),
        other => panic!("{text:?} is {other:?}"),
    }
}

#[test]
fn plain_words_are_booleans_and_nulls_as_in_yaml_1_1() {
    for text in ["yes", "On", "TRUE"] {
        assert_eq!(value(text), Value::Bool(true), "{text}");
    }
    for text in ["no", "Off", "FALSE"] {
        assert_eq!(value(text), Value::Bool(false), "{text}");
    }
    for text in ["~", "null", "NULL", "! ''"] {
        assert_eq!(value(text), Value::Null, "{text}");
    }
    for text in ["y", "N", "tRue", "nULL", "'yes'", "\"on\"", "|\n yes"] {
        assert!(matches!(value(text), Value::Str(_)), "{text}");
    }
}

#[test]
fn integers_have_the_forms_of_yaml_1_1_and_any_size() {
    let forms = [
        ("010", "8"),
        ("0b101", "5"),
        ("-0x1F", "-31"),
        ("1_000", "1000"),
        ("1:30", "90"),
        ("-1:30:59", "-5459"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("0xffffffffffffffffffff", "1208925819614629174706175"),
        ("123456789012345678901:30", "7407407340740740734090"),
    ];
    for (text, expected) in forms {
        assert_eq!(int(text), expected, "{text}");
    }
    let longest = "9".repeat(4300);
    assert_eq!(int(&longest), longest);
    assert!(refusal(&"9".repeat(4301)).contains("not a valid whole number"));
}

#[test]
fn floats_have_the_forms_of_yaml_1_1() {
    for (text, expected) in
        [("1.", 1.0), (".5", 0.5), ("1.5e+3", 1500.0), ("1:30.5", 90.5), ("1_0.2_5", 10.25)]
    {
        assert_eq!(value(text), Value::Float(expected), "{text}");
    }
    assert_eq!(value("-.inf"), Value::Float(f64::NEG_INFINITY));
    assert!(matches!(value(".nan"), Value::Float(number) if number.is_nan()));
    for text in ["1e3", "-.5", "1.2.3", "inf"] {
        assert!(matches!(value(text), Value::Str(_)), "{text}");
    }
}

#[test]
fn dates_and_times_are_checked_against_the_calendar() {
    let date = Date { year: 2000, month: 2, day: 29 };
    assert_eq!(value("2000-02-29"), Value::Date(date));
    let time = DateTime { date, hour: 2, minute: 3, second: 4, microsecond: 50_000, offset: Some(-330) };
    assert_eq!(value("2000-2-29 2:03:04.05 -5:30"), Value::DateTime(time));
    assert_eq!(time.to_string(), "2000-02-29 02:03:04.050000-05:30");
    for text in ["1900-02-29", "2001-13-01", "0000-01-01", "2001-01-01 24:00:00", "2001-01-01 1:00:00+24:00"]
    {
        assert!(refusal(text).contains("not a valid date and time"), "{text}");
    }
}

#[test]
fn an_alias_is_the_same_node_and_may_lead_back_to_itself() {
    let document = read("a: &x [1]\nb: *x\nc: &y {self: *y}\n");
    let Value::Map(pairs) = document.value(document.root().unwrap()) else { panic!() };
    assert_eq!(pairs[0].1, pairs[1].1);
    let Value::Map(inner) = document.value(pairs[2].1) else { panic!() };
    assert_eq!(inner[0].1, pairs[2].1);
}

#[test]
fn merge_keys_come_first_and_the_own_keys_win() {
    let document = read("a: &a {x: 1, y: 1}\nb: {x: 2, <<: [{z: 3}, *a]}\n");
    let at = |key: &str| {
        let path = [Step::Key("b".into()), Step::Key(key.into())];
        document.locate(&path).unwrap().1
    };
    assert_eq!(at("x"), Mark { line: 2, column: 8, file: 0 });
    assert_eq!(at("y"), Mark { line: 1, column: 17, file: 0 });
    assert_eq!(at("z"), Mark { line: 2, column: 20, file: 0 });
}

#[test]
fn every_node_knows_its_place() {
    let document = read("broker:\n  host: x\n  ports: [1, 2]\n1: {true: a, null: b}\n");
    let locate = |path: &[Step]| {
        document.locate(path).map(|(key, value)| ((key.line, key.column), (value.line, value.column)))
    };
    let key = |text: &str| Step::Key(text.into());
    assert_eq!(locate(&[]), Some(((1, 1), (1, 1))));
    assert_eq!(locate(&[key("broker"), key("host")]), Some(((2, 3), (2, 9))));
    assert_eq!(locate(&[key("broker"), key("ports"), Step::Index(1)]), Some(((3, 14), (3, 14))));
    assert_eq!(locate(&[Step::Index(1), Step::Constant(Some(true))]), Some(((4, 5), (4, 11))));
    assert_eq!(locate(&[Step::Index(1), Step::Constant(None)]), Some(((4, 14), (4, 20))));
    assert_eq!(locate(&[key("broker"), key("nothing")]), None);
    assert_eq!(locate(&[key("broker"), key("host"), key("deeper")]), None);
}

#[test]
fn errors_are_sentences_with_file_line_and_column() {
    let sentences = [
        ("a: b\n\tc: d\n", "test.yml:2:1: a tab stands where"),
        ("a: b: c", "test.yml:1:5: a second ':'"),
        ("a: [1,\nb: 2", "is not closed"),
        ("a: \"x\nb: 1", "test.yml:1:4: a quoted text is not closed"),
        ("a: *x", "test.yml:1:4: the alias '*x' has no anchor"),
        ("a: &x 1\nb: &x 2", "test.yml:2:4: the anchor '&x' stands a second time, first in line 1"),
        ("a: !thing 1", "test.yml:1:4: the tag '!thing' is unknown; remove it"),
        ("a: !!python/name:os.system", "names a Python object"),
        ("--- a\n--- b", "test.yml:2:1: a second document"),
        ("{[a]: b}", "test.yml:1:2: a list or mapping cannot be a key"),
        ("a: \u{1}", "test.yml:1:4: the control character U+0001 is not allowed"),
        ("password: !!int hunter2", "test.yml:1:11: this is read as !!int"),
        ("a: @b", "test.yml:1:4: a text cannot begin with '@' here; put it in quotes"),
        ("[a?b]", "test.yml:1:3: a text with a '?'"),
    ];
    for (text, expected) in sentences {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{text:?}: {refusal}");
        assert!(refusal.starts_with("test.yml:") && !refusal.contains("hunter2"), "{refusal}");
    }
}

#[test]
fn broken_encodings_are_refused_at_their_place() {
    let refusal = |bytes: &[u8]| load(bytes, "f", &Limits::default()).unwrap_err().to_string();
    assert!(refusal(b"a: 1\nb: \xff").starts_with("f:2:4: the text is not valid UTF-8"));
    assert!(refusal(b"\xff\xfea\0\n\0\0\xd8").starts_with("f:2:1: the text is not valid UTF-16"));
    assert!(refusal(b"\xfe\xff\0a\0").contains("not valid UTF-16"));
}

#[test]
fn utf_16_and_byte_order_marks_are_read() {
    let utf_16: Vec<u8> = "\u{feff}a: \u{1f600}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [utf_16.as_slice(), "\u{feff}a: \u{1f600}".as_bytes()] {
        let document = load(bytes, "f", &Limits::default()).unwrap();
        let Value::Map(pairs) = document.value(document.root().unwrap()) else { panic!() };
        assert_eq!(document.value(pairs[0].1), &Value::Str("\u{1f600}".into()));
    }
}

#[test]
fn a_block_text_that_ends_with_the_file_has_no_line_break_more_than_its_own() {
    for (text, expected) in [
        ("|\n x", "x"),
        ("|\n x\n", "x\n"),
        ("|\n x\n ", "x\n"),
        ("|+\n x\n\n ", "x\n\n"),
        ("|+\n x", "x"),
        ("|-\n x", "x"),
        (">\n x\n y", "x y"),
        ("|\n  x\n   ", "x\n "),
        ("|\n x\n# end", "x\n"),
        ("|+", ""),
    ] {
        assert_eq!(value(text), Value::Str(expected.into()), "{text:?}");
    }
}

#[test]
fn nesting_is_read_to_a_hundred_levels_and_no_deeper() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    read(&nested(100));
    assert!(refusal(&nested(101)).contains("nested more than 100 levels"));
    // The same depth, reached through aliases.
    let chain = |length: usize| -> String {
        std::iter::once("- &a0 []\n".to_owned())
            .chain((1..length).map(|n| format!("- &a{n} [*a{}]\n", n - 1)))
            .collect()
    };
    read(&chain(99));
    assert!(refusal(&chain(100)).contains("nested more than 100 levels"));
}

#[test]
fn aliases_that_expand_beyond_the_limit_are_refused_without_expanding_them() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..8 {
        writeln!(text, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(", ")).unwrap();
    }
    assert!(refusal(&text).contains("expand this document to more than 10000000 values"));
    let mut merges = "m0: &m0 {k0: 1}\n".to_owned();
    for n in 1..40 {
        writeln!(merges, "m{n}: &m{n} {{<<: [*m{}, *m{}]}}", n - 1, n - 1).unwrap();
    }
    assert!(refusal(&merges).contains("expand this document"));
}

#[test]
fn limits_can_be_narrower() {
    let limits = Limits { depth: 2, bytes: 20, nodes: 4 };
    let refused = |text: &str| load(text.as_bytes(), "f", &limits).map(|_| ()).unwrap_err().to_string();
    assert!(load(b"[[1, 2]]", "f", &limits).is_ok());
    assert!(refused("[[[]]]").contains("nested more than 2 levels"));
    assert!(refused("[1, 2, 3, 4]").contains("more than 4 values"));
    assert!(refused(&"x".repeat(21)).contains("larger than"));
}

#[test]
fn a_long_chain_of_merge_keys_ends_in_a_sentence() {
    let mut text = "- - &m0 {a: 1}\n".to_owned();
    for n in 1..2000 {
        writeln!(text, "  - &m{n} {{<<: *m{}}}", n - 1).unwrap();
    }
    text += "- {<<: *m1999}\n";
    assert!(refusal(&text).contains("nested more than"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No text makes the reader panic or hang: it is read or refused.
    #[test]
    fn any_text_is_read_or_refused(text in "[-a1:?,\\[\\]{}#&*!|>'\"%@` \n\t~=<.\\\\\u{85}\u{2028}é]{0,60}") {
        if let Err(error) = load(text.as_bytes(), "f", &Limits::default()) {
            prop_assert!(error.to_string().starts_with("f:"));
            prop_assert!(!error.message().is_empty());
        }
    }

    /// Nor does any sequence of bytes.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = load(&bytes, "f", &Limits::default());
    }
}
