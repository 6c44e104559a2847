//! A bare rumqttc client that answers `PREFIX/ping` on `PREFIX/pong`: what a round trip costs without Python.
//!
//! `cargo run --release --example rumqttc_echo -- PORT PREFIX`

use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().ok_or("the port of the broker is missing")?.parse()?;
    let prefix = arguments.next().ok_or("the prefix of the topics is missing")?;
    let mut options = MqttOptions::new("rumqttc-echo", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut events) = AsyncClient::new(options, 100);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    client.subscribe(format!("{prefix}/ping"), QoS::AtMostOnce).await?;
    let pong = format!("{prefix}/pong");
    loop {
        if let Event::Incoming(Packet::Publish(message)) = events.poll().await? {
            client.publish(&pong, QoS::AtMostOnce, false, message.payload).await?;
        }
    }
}
