//! Caps: presets, which one is in force, who is near.
