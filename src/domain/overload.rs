//! pf's own rate arithmetic, both generations.
