//! End to end: the real binary, one module a command group.
