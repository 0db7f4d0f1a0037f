//! The system's ssh.
use crate::firewall::hostkey::HostKey;
use crate::firewall::link::{Counts, Target};
use crate::firewall::link_error::LinkError;
use crate::firewall::script::Script;
use crate::firewall::shell::Shell;

/// A connection held by an ssh master process.
pub struct OpenSsh {}

#[expect(clippy::unused_async, clippy::unused_self, reason = "skeleton")]
impl OpenSsh {
    pub(super) async fn connect(_target: &Target) -> Result<Self, LinkError> {
        Err(LinkError::SshFailed {
            said: "not built yet".to_owned(),
        })
    }
    pub(super) async fn shell(&mut self, _script: &Script) -> Result<Shell, LinkError> {
        Err(LinkError::SshFailed {
            said: "not built yet".to_owned(),
        })
    }
    pub(super) fn host_key(&self) -> Option<&HostKey> {
        None
    }
    pub(super) fn counts(&self) -> Counts {
        Counts::default()
    }
    pub(super) async fn close(self: Box<Self>) {}
}
