"""What miqro costs, beside miqro 1.3.0, paho-mqtt 2, gmqtt, rumqttc and mosquitto's own clients.

`make bench` and `make bench-growth` run it; docs/performance.md explains the figures.
"""
