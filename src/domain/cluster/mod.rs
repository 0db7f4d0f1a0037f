//! The cluster's side of the service: Kubernetes objects as kubectl prints them, and the manifest.

pub mod manifest;
pub mod objects;
