//! The pair of rules that makes the exposure: configured and loaded records → state and reasons.
