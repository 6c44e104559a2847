"""MQTT micro-services for Python."""
