"""Nothing is lost, doubled or out of order under faults: a short form of `make faults` (C36, C43, C44)."""

from __future__ import annotations

import pytest

from faults import matrix


@pytest.mark.parametrize("fault", matrix.FAULTS)
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("protocol", matrix.PROTOCOLS)
def test_a_fault_in_the_middle_loses_nothing(protocol: str, qos: int, fault: str) -> None:
    """Each fault three times while the window is full: all of it arrives, in order, at QoS 2 once."""
    result = matrix.run(qos, fault, matrix.PROTOCOLS[protocol], 1000)
    assert result.good(qos, fault), result
