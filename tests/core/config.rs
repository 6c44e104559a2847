//! The typed sections of the configuration (C41, C42).

use miqro::core::config::{Auth, Broker, Protocol, Section, SectionError, Setting, Tls, Transport, nearest};

fn section(entries: &[(&str, Setting)]) -> Section {
    let mut section = Section::default();
    for (key, value) in entries {
        section.push(*key, value.clone());
    }
    section
}

fn text(text: &str) -> Setting {
    Setting::Text(text.into())
}

fn broker(key: &str, value: Setting) -> Result<Broker, SectionError> {
    Broker::read(section(&[(key, value)]))
}

#[test]
fn nothing_set_means_the_defaults_of_c41() {
    let broker = Broker::read(Section::default()).unwrap();
    assert_eq!(broker, Broker::default());
    assert_eq!((broker.host.as_str(), broker.keepalive, broker.bind_port), ("localhost", 60, 0));
    assert_eq!((broker.port_or_default(false), broker.port_or_default(true)), (1883, 8883));
    assert_eq!((broker.max_queued_messages, broker.max_queued_bytes), (10_000, 16 << 20));
    let everything =
        ["host", "port", "keepalive", "bind_address", "bind_port", "protocol", "transport", "path"];
    for key in everything.into_iter().chain(["client_id", "clean_session", "durable", "max_queued_messages"])
    {
        for nothing in [Setting::Null, text("None")] {
            assert_eq!(self::broker(key, nothing).unwrap(), Broker::default(), "{key}");
        }
    }
}

#[test]
fn numbers_are_taken_in_their_range_only() {
    assert_eq!(broker("port", Setting::Int(65_535)).unwrap().port, Some(65_535));
    assert_eq!(broker("keepalive", Setting::Int(0)).unwrap().keepalive, 0);
    for (key, value, expected) in [
        ("port", Setting::Int(0), "the port cannot be 0; write a whole number from 1 to 65535"),
        ("port", Setting::Int(65_536), "the port cannot be 65536"),
        ("port", Setting::Float(1883.5), "the port cannot be 1883.5"),
        (
            "port",
            text("1883"),
            "a whole number from 1 to 65535 is needed here, not a text; write it without quotes",
        ),
        ("keepalive", Setting::Int(-1), "0 to 65535"),
        ("keepalive", Setting::Bool(true), "not true or false"),
        ("max_queued_messages", Setting::Int(0), "1 or more"),
        ("reconnect_delay_min", Setting::Int(0), "a delay cannot be 0 s"),
        ("reconnect_delay_max", Setting::Float(f64::NAN), "a delay cannot be NaN s"),
        ("reconnect_delay_max", Setting::Float(f64::INFINITY), "a delay cannot be inf s"),
        ("host", Setting::Int(1), "put it in quotes"),
        ("host", text(" "), "the host is empty"),
        ("host", text("mqtt://x"), "without 'mqtt://'"),
        ("host", Setting::Other("a list".into()), "a single value is needed here, not a list"),
        ("clean_session", text("yes"), "true or false is needed here, not a text; write it without quotes"),
        ("transport", text("websocket"), "did you mean websockets?"),
    ] {
        let error = broker(key, value).unwrap_err();
        assert_eq!((error.key.as_str(), error.in_key), (key, false));
        assert!(error.message.contains(expected), "{key}: {}", error.message);
    }
}

#[test]
fn delays_must_not_contradict_each_other() {
    let error = broker("reconnect_delay_min", Setting::Int(100)).unwrap_err();
    assert_eq!(error.key, "reconnect_delay_min");
    assert!(error.message.contains("at most 60"), "{}", error.message);
    let error = broker("reconnect_delay_max", Setting::Float(0.1)).unwrap_err();
    assert_eq!(error.key, "reconnect_delay_max");
    let both = section(&[("reconnect_delay_min", Setting::Int(2)), ("reconnect_delay_max", Setting::Int(2))]);
    assert!(Broker::read(both).is_ok());
}

#[test]
fn protocol_and_transport_take_the_forms_that_yaml_makes_of_them() {
    for (value, expected) in [
        (text("3.1.1"), Protocol::V311),
        (Setting::Int(4), Protocol::V311),
        (Setting::Int(5), Protocol::V5),
        (Setting::Float(5.0), Protocol::V5),
        (text("5"), Protocol::V5),
        (text("Auto"), Protocol::Auto),
    ] {
        assert_eq!(broker("protocol", value.clone()).unwrap().protocol, expected, "{value:?}");
    }
    assert!(broker("protocol", Setting::Float(3.11)).unwrap_err().message.contains("3.1.1, 5 or auto"));
    assert_eq!(broker("transport", text("websockets")).unwrap().transport, Transport::Websockets);
}

/// C41: what a transport needs, and what it has no use for.
#[test]
fn a_path_goes_with_the_transports_that_have_one() {
    let read = |entries: &[(&str, Setting)]| Broker::read(section(entries));
    let unix = ("transport", text("unix"));
    let error = read(std::slice::from_ref(&unix)).unwrap_err();
    assert!(error.message.contains("add 'path'"), "{error}");
    let here = read(&[unix.clone(), ("path", text("/run/mqtt.sock"))]).unwrap();
    assert_eq!(here.transport, Transport::Unix);
    // As with paho: the host is the path.
    assert!(read(&[unix, ("host", text("/run/mqtt.sock"))]).is_ok());
    let error = read(&[("path", text("/mqtt"))]).unwrap_err();
    assert_eq!(error.key, "path");
    assert!(error.message.contains("add 'transport: websockets'"), "{error}");
    assert!(here.clash_with_tls().unwrap().message.contains("remove the section 'tls'"));
    assert_eq!(Broker::default().clash_with_tls(), None);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let error = broker("hots", text("x")).unwrap_err();
    assert_eq!((error.key.as_str(), error.in_key), ("hots", true));
    assert_eq!(error.message, "unknown key 'hots'; did you mean 'host'?");
    let error = Tls::read(section(&[("ca_cert", text("x"))])).unwrap_err();
    assert!(error.message.contains("did you mean 'ca_certs'?"));
    let error = Auth::read(section(&[("colour", text("x"))])).unwrap_err();
    assert_eq!(error.message, "unknown key 'colour'; remove it; known are username, password, password_file");
}

#[test]
fn secrets_are_in_no_debug_text_and_in_no_error() {
    let auth = Auth::read(section(&[("username", text("u")), ("password", text("hunter2"))])).unwrap();
    assert_eq!(auth.password.as_deref(), Some("hunter2"));
    let tls = section(&[("certfile", text("c")), ("keyfile_password", text("hunter2"))]);
    let shown = format!("{auth:?} {:?} {:?}", Tls::read(tls.clone()).unwrap(), tls);
    assert!(!shown.contains("hunter2") && shown.contains("(hidden)"), "{shown}");
    for value in [Setting::Int(12_345), Setting::Bool(true), Setting::Other("a list".into())] {
        let error = Auth::read(section(&[("username", text("u")), ("password", value)])).unwrap_err();
        assert!(!error.to_string().contains("12345"), "{error}");
        assert_eq!(error.key, "password");
    }
}

#[test]
fn a_password_needs_a_user_and_a_key_needs_a_certificate() {
    assert_eq!(Auth::read(section(&[("password", text("x"))])).unwrap_err().key, "password");
    assert!(Auth::read(section(&[("username", text("x"))])).is_ok());
    assert_eq!(Tls::read(section(&[("keyfile", text("x"))])).unwrap_err().key, "keyfile");
    assert_eq!(Tls::read(section(&[("keyfile_password", text("x"))])).unwrap_err().key, "keyfile_password");
}

#[test]
fn tls_settings_go_by_the_names_of_the_ssl_module() {
    let tls = Tls::read(section(&[
        ("cert_reqs", text("CERT_REQUIRED")),
        ("tls_version", text("PROTOCOL_TLS")),
        ("ciphers", text("None")),
        ("ca_certs", Setting::Null),
    ]))
    .unwrap();
    assert_eq!(tls.cert_reqs.as_deref(), Some("CERT_REQUIRED"));
    assert_eq!((tls.ciphers, tls.ca_certs), (None, None));
    let error = Tls::read(section(&[("cert_reqs", text("CERT_REQUIERD"))])).unwrap_err();
    assert!(error.message.contains("did you mean CERT_REQUIRED?"), "{}", error.message);
}

#[test]
fn a_user_may_be_called_none() {
    let auth = Auth::read(section(&[("username", text("None"))])).unwrap();
    assert_eq!(auth.username.as_deref(), Some("None"));
}

#[test]
fn the_nearest_name_is_near() {
    let known = ["broker", "auth", "tls", "log_level", "services"];
    for (given, expected) in [
        ("brokr", Some("broker")),
        ("Broker", Some("broker")),
        ("log-level", Some("log_level")),
        ("loglevel", Some("log_level")),
        ("sevrices", Some("services")),
        ("tsl", Some("tls")),
        ("weather", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(nearest(given, known), expected, "{given}");
    }
}
