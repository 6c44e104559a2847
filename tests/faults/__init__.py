"""What is lost, doubled or out of order when the network and the broker fail: measured, with real ones."""
