"""The same services on miqro 1.3.0 and on this one, side by side, against one broker.

`services/` are services as their owners write them; each class is one. `scenarios/` say what happens to each of
them, once on either implementation. What a third client then saw on the wire, what the broker says of the session,
what the service logged at INFO and above and what it printed is compared. A line that differs must be part of a
named entry of `differences.py`, which has its reason there, and its line in docs/migration.md.
"""
