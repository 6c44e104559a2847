//! A bare rumqttc client on one thread: what publishing, receiving and answering cost without Python.
//!
//! `cargo run --release --example rumqttc_client -- publish|receive|echo PORT PREFIX COUNT QOS`
//!
//! - `publish` sends COUNT messages on `PREFIX/out` when it is told to `go`.
//! - `receive` says `done` after COUNT messages on `PREFIX/in`, not counting the retained one that says `ready`.
//! - `echo` answers each message on `PREFIX/ping` COUNT times on `PREFIX/pong`.
//!
//! On stdin it understands `go`, and `cpu`, on which it says how many seconds of processor it has used.

use std::{
    error::Error,
    io::{BufRead, Write, stdin, stdout},
    sync::Arc,
    thread,
    time::Duration,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, QoS, qos};
use tokio::sync::Notify;

const PAYLOAD: &str = "hello, world!";

struct Arguments {
    what: String,
    port: u16,
    prefix: String,
    count: u64,
    qos: QoS,
}

impl Arguments {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut arguments = std::env::args().skip(1);
        let mut next = |name| arguments.next().ok_or(format!("{name} is missing"));
        Ok(Self {
            what: next("what to do")?,
            port: next("the port of the broker")?.parse()?,
            prefix: next("the prefix of the topics")?,
            count: next("the number of messages")?.parse()?,
            qos: qos(next("the quality of service")?.parse()?)
                .map_err(|_| "the quality of service is 0 to 2")?,
        })
    }
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn cpu() -> nix::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// Obeys stdin, until it ends and the process with it.
fn obey(go: &Notify) {
    for line in stdin().lock().lines().map_while(Result::ok) {
        match (line.as_str(), cpu()) {
            ("cpu", Ok(used)) if say(&format!("{{\"cpu\": {:.6}}}", used.as_secs_f64())).is_ok() => {}
            ("go", _) => go.notify_one(),
            _ => break,
        }
    }
    std::process::exit(0);
}

async fn connected(events: &mut EventLoop) -> Result<(), Box<dyn Error>> {
    while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { what, port, prefix, count, qos } = Arguments::read()?;
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(60));
    options.set_inflight(20);
    let (client, mut events) = AsyncClient::new(options, 1000);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    connected(&mut events).await?;

    let go = Arc::new(Notify::new());
    let heard = Arc::clone(&go);
    thread::spawn(move || obey(&heard));

    match what.as_str() {
        "publish" => {
            let topic = format!("{prefix}/out");
            tokio::spawn(async move {
                go.notified().await;
                for _ in 0..count {
                    if client.publish(topic.as_str(), qos, false, PAYLOAD).await.is_err() {
                        break;
                    }
                }
                // The event loop ends with its last client.
                std::future::pending::<()>().await;
            });
            say(r#"{"ready": true}"#)?;
            loop {
                events.poll().await?;
            }
        }
        "receive" => {
            client.subscribe(format!("{prefix}/in"), qos).await?;
            let mut seen = 0;
            loop {
                if let Event::Incoming(Packet::Publish(_)) = events.poll().await? {
                    if seen == 0 {
                        say(r#"{"ready": true}"#)?;
                    } else if seen == count {
                        say(r#"{"done": true}"#)?;
                    }
                    seen += 1;
                }
            }
        }
        "echo" => {
            client.subscribe(format!("{prefix}/ping"), QoS::AtMostOnce).await?;
            let pong = format!("{prefix}/pong");
            say(r#"{"ready": true}"#)?;
            loop {
                if let Event::Incoming(Packet::Publish(message)) = events.poll().await? {
                    for _ in 0..count {
                        client.publish(pong.as_str(), qos, false, message.payload.clone()).await?;
                    }
                }
            }
        }
        _ => Err("the first argument is publish, receive or echo".into()),
    }
}
