//! The built-in client.
use crate::firewall::hostkey::HostKey;
use crate::firewall::link::{Counts, Secret, Target};
use crate::firewall::link_error::LinkError;
use crate::firewall::script::Script;
use crate::firewall::shell::Shell;

/// A connection of the built-in client.
pub struct Russh {
    host_key: HostKey,
}

#[expect(clippy::unused_async, clippy::unused_self, reason = "skeleton")]
impl Russh {
    pub(super) async fn connect(
        _target: &Target,
        _ask: &dyn Fn(&str) -> Option<Secret>,
    ) -> Result<Self, LinkError> {
        Err(LinkError::SshFailed {
            said: "not built yet".to_owned(),
        })
    }
    pub(super) async fn shell(&mut self, _script: &Script) -> Result<Shell, LinkError> {
        Err(LinkError::SshFailed {
            said: "not built yet".to_owned(),
        })
    }
    pub(super) fn host_key(&self) -> &HostKey {
        &self.host_key
    }
    pub(super) fn counts(&self) -> Counts {
        Counts::default()
    }
    pub(super) async fn close(self: Box<Self>) {}
}
