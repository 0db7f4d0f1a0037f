//! Another context of the same configuration beside this run's own: its settings, and the commands that lead there.

use std::sync::OnceLock;

use super::Context;
use crate::error::Result;
use crate::settings::{Layers, Settings};
use crate::terminal::pasted::quoted_for_shell;

impl Context {
    /// Reads the configuration in another of its contexts.
    ///
    /// # Errors
    /// What is wrong with that context.
    pub fn in_context(&self, name: &str) -> Result<Self> {
        let flags = [("context", "--context", name.to_owned())];
        let alone = self.demo.then(|| self.environment.without_configuration());
        let environment = alone.as_ref().unwrap_or(&self.environment);
        let (layers, problem) = Layers::read(environment, self.config_named.as_deref(), &flags);
        if let Some(failure) = problem {
            return Err(failure);
        }
        Ok(Self {
            terminal: self.terminal,
            settings: Settings::resolve(&layers, &self.environment)?,
            demo_name: layers.demo_name(),
            layers,
            problem: None,
            environment: self.environment.clone(),
            clock: self.clock,
            demo: self.demo,
            config_named: self.config_named.clone(),
            seen: OnceLock::new(),
        })
    }

    /// Returns a command for another context, with the flags that lead there.
    pub fn command_in_context(&self, name: &str, command: &str) -> String {
        let file = self.config_named.as_ref().map(|path| path.to_string_lossy());
        let variable = self.environment.variable("KMSCTL_CONFIG").filter(|_| !self.demo);
        let config = file.as_deref().or(variable).map(quoted_for_shell);
        let config = config.map(|path| format!("--config {path} ")).unwrap_or_default();
        let demo = if self.demo { "--demo " } else { "" };
        format!("kmsctl {config}{demo}--context {name} {command}")
    }
}
