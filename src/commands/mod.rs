//! One file a command group: its arguments beside its code. No rules in here.
