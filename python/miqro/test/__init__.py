"""Help for testing services without a broker: see `miqro.test.tools`."""
