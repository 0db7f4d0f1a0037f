//! A word of a remote command that cannot mean anything to a shell.

use std::net::IpAddr;

use super::pf::table::TableName;

/// One word of a remote command: a constant of the program, or a value whose rendering cannot mean anything to a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellWord(String);

impl ShellWord {
    /// Wraps a word of the program's own text.
    pub fn fixed(word: &'static str) -> Self {
        Self(word.to_owned())
    }

    /// Renders an address from its parsed form.
    pub fn address(address: IpAddr) -> Self {
        Self(address.to_string())
    }

    /// Renders a table name, which [`TableName`] has checked.
    pub fn table(name: &TableName) -> Self {
        Self(name.as_str().to_owned())
    }

    /// Renders a rule's label, if it is the one pfSense makes of the tracker: `id:N` or `id=N`.
    pub fn label(label: &str) -> Option<Self> {
        let number = label.strip_prefix("id:").or(label.strip_prefix("id="))?;
        let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| Self(label.to_owned()))
    }

    /// Renders a state's id as pfctl prints it, with the host that made it: without, pfctl takes its own.
    pub fn state(id: u64, creator: u32) -> Self {
        Self(format!("{id:016x}/{creator:08x}"))
    }

    /// Renders an absolute path from the configuration, if it holds only letters, digits and `/._-+`.
    pub fn path(path: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
        (path.starts_with('/') && path.bytes().all(plain)).then(|| Self(path.to_owned()))
    }

    /// Returns the word as typed into the script.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
