//! What was read, judged once: the exposure with its caps and every path in, who is connected, and what plans rest on. The
//! screen before a change, the plan and the proof after it ask the same value; what was not read is unknown, with the reason.

use std::cell::OnceCell;

use ipnet::IpNet;

use super::{Context, answer_or_warning, require_answer};
use crate::domain::connections::{ConnectedSource, tally_sources};
use crate::domain::exposure::{self, AliasTable, Completeness, Exposure, Loaded};
use crate::domain::pfsense::configured::{Configured, FilterRule};
use crate::domain::pfsense::managed::ManagedPair;
use crate::domain::plan::{self, Live, PlanBasis};
use crate::domain::service::Service;
use crate::domain::warning::Warning;
use crate::error::{Failure, Result};
use crate::pfsense::questions::{FactError, Question, Reading};

/// The questions whose answers [`Situation::exposure`] needs.
pub const QUESTIONS: &[Question] = &[
    Question::Rules,
    Question::Translation,
    Question::Info,
    Question::AliasTable,
    Question::Configured,
];

#[derive(Debug)]
pub struct Situation<'a> {
    reading: &'a Reading,
    service: &'a Service,
    members: Option<Vec<IpNet>>,
    sources: OnceCell<Vec<ConnectedSource>>,
}

impl Context {
    /// Judges a reading for the configured service.
    pub fn situation<'a>(&'a self, reading: &'a Reading) -> Situation<'a> {
        Situation {
            reading,
            service: &self.settings.service,
            members: service_networks(reading),
            sources: OnceCell::new(),
        }
    }
}

impl<'a> Situation<'a> {
    /// Returns the exposure. The loaded rules are needed, and whole; without the configuration, or pf's status, the judgement
    /// rests on what is left ([`Self::warnings`]).
    pub fn exposure(&self) -> Result<&'a Exposure> {
        let reading = self.reading;
        let filter = require_answer(&reading.rules)?;
        if !exposure::looks_complete(filter) {
            return Err(cut_short("rules", "-vvPsr"));
        }
        let nat = require_answer(&reading.translation)?;
        if !exposure::looks_complete_translation(nat) {
            return Err(cut_short("translation rules", "-vvPsn"));
        }
        let configured = reading.configured.as_ref().ok();
        let loaded = Loaded {
            filter,
            nat,
            enabled: reading.info.as_ref().map_or(true, |info| info.enabled),
            alias_table: match &reading.alias_table {
                Ok(entries) => AliasTable::Read(entries),
                Err(FactError::NotAsked | FactError::NoTable { .. }) => AliasTable::Unasked,
                Err(_) => AliasTable::Unread,
            },
        };
        let judge = || exposure::judge(configured, loaded, self.service);
        Ok(reading.exposure.get_or_init(judge))
    }

    /// Returns the exposure as a proof takes it, no laxer than the look before it: where anything was not read, or pf is off,
    /// it says why nothing is known.
    pub fn proven_exposure(&self) -> std::result::Result<&'a Exposure, String> {
        let reading = self.reading;
        let unread = [
            reading.rules.as_ref().err(),
            reading.translation.as_ref().err(),
            reading.info.as_ref().err(),
            reading.configured.as_ref().err(),
        ];
        if let Some(error) = unread.into_iter().flatten().next() {
            return Err(format!("{error}."));
        }
        let rules = reading.rules.as_ref().map(Vec::as_slice);
        if Completeness::from_rules(rules.unwrap_or_default()) == Completeness::Empty {
            return Err("pf shows no rule at all.".to_owned());
        }
        if reading.info.as_ref().is_ok_and(|info| !info.enabled) {
            return Err("pf is switched off on this firewall.".to_owned());
        }
        self.exposure().map_err(|failure| failure.message)
    }

    /// Says what the judgement goes without, if there is one.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Ok(exposure) = self.exposure() {
            answer_or_warning(&self.reading.info, "Whether pf is enabled", &mut warnings);
            let configured = &self.reading.configured;
            answer_or_warning(configured, "What is configured", &mut warnings);
            if exposure.finding_of_code("alias-unread").is_some() {
                let alias = &self.reading.alias_table;
                answer_or_warning(alias, "What pf's table of the alias holds", &mut warnings);
            }
        }
        warnings
    }

    /// Returns the networks that the alias holds; `None` without the configuration.
    pub fn members(&self) -> Option<&[IpNet]> {
        self.members.as_deref()
    }

    /// Returns the states that are the service's.
    pub fn live(&self) -> Result<Live<'a>> {
        let states = require_answer(&self.reading.states)?;
        Ok(Live::new(states, self.service, self.members()))
    }

    /// Returns who is connected; none where the states were not read.
    pub fn sources(&self) -> &[ConnectedSource] {
        self.sources.get_or_init(|| {
            let states = self.reading.states.as_ref().map(Vec::as_slice);
            let states = states.unwrap_or_default();
            tally_sources(states, self.service, self.members(), &[], |_| false)
        })
    }

    /// Returns the labels of the exposure's own rule; none where they are not known, or not its alone, and its states go by
    /// their ids.
    pub fn rule_labels(&self) -> Vec<String> {
        let exposure = self.exposure().ok();
        let tracker = exposure.and_then(|exposure| exposure.filter.tracker_number());
        self.labels_of_tracker(tracker)
    }

    /// Returns the labels of the rule with this tracker, likewise.
    pub fn labels_of_tracker(&self, tracker: Option<u32>) -> Vec<String> {
        let rules = self.reading.rules.as_ref().map(Vec::as_slice);
        let configured = self.reading.configured.as_ref().ok();
        plan::rule_labels(rules.unwrap_or_default(), tracker, self.service, configured)
    }

    /// Returns the configured filter rule, if there is one.
    pub fn filter_rule(&self) -> Option<&'a FilterRule> {
        let configured = self.reading.configured.as_ref().ok()?;
        ManagedPair::of_service(configured, self.service).own_filter()
    }

    /// Returns what plans about the configuration are made from; it must have been read.
    pub fn present(&self) -> Result<PlanBasis<'_>> {
        let exposure = self.exposure()?;
        Ok(PlanBasis {
            configured: require_answer(&self.reading.configured)?,
            exposure,
            service: self.service,
            sources: self.sources(),
            blocked: self.reading.table.as_ref().ok().map(Vec::len),
        })
    }
}

/// Returns the networks that the service's alias holds, as configured and in pf: who is let in to either is the service's.
fn service_networks(reading: &Reading) -> Option<Vec<IpNet>> {
    let configured = reading.configured.as_ref().ok().map(Configured::alias_networks);
    let in_pf = reading.alias_table.as_ref().ok();
    let is_known = configured.is_some() || in_pf.is_some();
    let in_pf = in_pf.into_iter().flatten().map(|entry| entry.net);
    is_known.then(|| configured.into_iter().flatten().chain(in_pf).collect())
}

fn cut_short(what: &str, option: &str) -> Failure {
    Failure::failed(format!(
        "The firewall's list of {what} is cut short or has gaps, so nothing is said about what it lets in."
    ))
    .hint(format!(
        "Run the command again; if it stays so, compare with `pfctl {option}` on the firewall."
    ))
}
