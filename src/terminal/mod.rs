//! Streams and modes: stdout is data, stderr is talk.
