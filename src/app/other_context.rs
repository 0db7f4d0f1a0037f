//! The same configuration read anew: in another of its contexts, or as this run was started.

use std::sync::OnceLock;

use super::Context;
use crate::error::Result;
use crate::settings::{Layers, Settings, SettingsReader};

impl Context {
    /// Reads the configuration in another of its contexts.
    ///
    /// # Errors
    /// What is wrong with that context.
    pub fn in_context(&self, name: &str) -> Result<Self> {
        self.with_flags(&[("context", "--context", name.to_owned())])
    }

    /// Reads the configuration again, as this run was started; which box is meant is open again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_again(&self) -> Result<Self> {
        self.with_flags(&self.layers.typed_flags())
    }

    fn with_flags(&self, flags: &[(&str, &'static str, String)]) -> Result<Self> {
        let alone = self.demo.then(|| self.environment.without_configuration());
        let environment = alone.as_ref().unwrap_or(&self.environment);
        let (layers, problem) = Layers::read(environment, self.config_named.as_deref(), flags);
        if let Some(failure) = problem {
            return Err(failure);
        }
        Ok(Self {
            terminal: self.terminal,
            settings: Settings::resolve(&SettingsReader::new(&layers, &self.environment))?,
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
}
