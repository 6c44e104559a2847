//! What goes on the wire and comes off it: text, numbers, and how they are rounded (contract C14, C31, C32).
