//! Another context of the same configuration beside this run's own.

use std::sync::OnceLock;

use super::Context;
use crate::error::Result;
use crate::settings::{Layers, Settings};

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
}
