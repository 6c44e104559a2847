//! Writing YAML (C56, C57). The comparison with `yaml.dump` is `tests/test_yaml_dump.py`.

use miqro::core::yaml::{BigInt, Document, Int, Limits, NodeId, Value, emit, load};
use proptest::prelude::*;

fn text_of(build: impl FnOnce(&mut Document) -> NodeId) -> String {
    let mut document = Document::new();
    let root = build(&mut document);
    document.set_root(root);
    emit(&document, &Limits::default()).unwrap()
}

fn strings(document: &mut Document, items: &[&str]) -> Vec<NodeId> {
    items.iter().map(|item| document.push(Value::Str((*item).into()))).collect()
}

#[test]
fn texts_that_look_like_something_else_are_quoted() {
    let text = text_of(|document| {
        let items =
            strings(document, &["a", "yes", "010", "", "1:30", "2001-01-01", "a: b", "é", "a\tb", "a\nb"]);
        document.push(Value::Seq(items))
    });
    let expected = "- a\n- 'yes'\n- '010'\n- ''\n- '1:30'\n- '2001-01-01'\n- 'a: b'\n- \"\\xE9\"\n- \"a\\tb\"\n- 'a\n\n  b'\n";
    assert_eq!(text, expected);
}

#[test]
fn every_type_has_its_form() {
    let text = text_of(|document| {
        let mut items: Vec<_> = [
            Value::Null,
            Value::Bool(true),
            Value::Int(Int::Small(-5)),
            Value::Int(Int::Big(Box::new(BigInt::from_decimal("123456789012345678901234567890").unwrap()))),
            Value::Float(1e16),
            Value::Float(f64::NAN),
            Value::Float(f64::NEG_INFINITY),
            Value::Complex(0.0, -2.0),
            Value::Bytes(b"abc".to_vec()),
            Value::Tuple(Vec::new()),
        ]
        .into_iter()
        .map(|value| document.push(value))
        .collect();
        let one = strings(document, &["a"]);
        items.push(document.push(Value::Set(one.clone())));
        items.push(document.push(Value::Pairs(vec![(one[0], one[0])])));
        document.push(Value::Seq(items))
    });
    let expected = "- null\n- true\n- -5\n- 123456789012345678901234567890\n- 1.0e+16\n- .nan\n- -.inf\n\
        - !!python/complex '-2.0j'\n- !!binary |\n  YWJj\n- !!python/tuple []\n- !!set\n  a: null\n- !!pairs\n  - a: a\n";
    assert_eq!(text, expected);
}

#[test]
fn what_is_referenced_twice_is_written_once() {
    let text = text_of(|document| {
        let list = document.push(Value::Seq(Vec::new()));
        let root = document.push(Value::Seq(Vec::new()));
        document.set(list, Value::Seq(vec![root]));
        document.set(root, Value::Seq(vec![list, list]));
        root
    });
    assert_eq!(text, "&id001\n- &id002\n  - *id001\n- *id002\n");
}

#[test]
fn what_could_not_be_read_back_is_refused() {
    let refusal = |build: &dyn Fn(&mut Document) -> NodeId| {
        let mut document = Document::new();
        let root = build(&mut document);
        document.set_root(root);
        emit(&document, &Limits::default()).unwrap_err()
    };
    let digits = "9".repeat(4301);
    let error = refusal(&|document| {
        document.push(Value::Int(Int::Big(Box::new(BigInt::from_decimal(&digits).unwrap()))))
    });
    assert!(error.message.contains("4300 digits") && error.node.is_some());
    let error = refusal(&|document| {
        let mut node = document.push(Value::Null);
        for _ in 0..101 {
            node = document.push(Value::Seq(vec![node]));
        }
        node
    });
    assert!(error.message.contains("nested more than 100 levels"));
    let error = refusal(&|document| document.push(Value::Str("x".repeat(17 << 20))));
    assert!(error.message.contains("larger than 16 MiB"));
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Int(Int::Small(number))),
        any::<f64>()
            .prop_filter("NaN is not equal to itself", |number| !number.is_nan())
            .prop_map(Value::Float),
        "\\PC*".prop_map(Value::Str),
        "[-yesno0-9:.,~'\"#&*\\[\\]{}|> \n\t!%@`\u{0}\u{1}\u{85}\u{feff}\u{1f600}]{0,12}"
            .prop_map(Value::Str),
        proptest::collection::vec(any::<u8>(), 0..80).prop_map(Value::Bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever is written reads back as the same, as an item and as a key.
    #[test]
    fn values_read_back_as_themselves(values in proptest::collection::vec(scalar(), 1..6)) {
        let mut document = Document::new();
        let ids: Vec<_> = values.iter().map(|value| document.push(value.clone())).collect();
        let map = document.push(Value::Map(ids.iter().map(|id| (*id, *id)).collect()));
        let root = document.push(Value::Seq(ids.iter().copied().chain([map]).collect()));
        document.set_root(root);
        let text = emit(&document, &Limits::default()).unwrap();
        let back = load(text.as_bytes(), "f", &Limits::default()).unwrap();
        let Value::Seq(items) = back.value(back.root().unwrap()) else { panic!("{text}") };
        let Value::Map(pairs) = back.value(items[values.len()]) else { panic!("{text}") };
        for (index, value) in values.iter().enumerate() {
            for id in [items[index], pairs[index].0, pairs[index].1] {
                prop_assert_eq!(back.value(id), value, "{}", text);
            }
        }
    }
}
