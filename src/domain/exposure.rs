//! The exposure: the pair of port forward and filter rule, judged from what is configured *and* what is loaded.
//! Where they differ the loaded rules win, and the difference is a finding. Not for changing anything.
//!
//! [`ManagedPair`] finds the two records in config.xml, [`path`] follows a connection through pf's rules to the pair, and
//! [`Walk`] each way in, which overrules it where a path shows more; this module compares them. Every oddity is a finding
//! with a stable code, never a silent guess.

use ipnet::IpNet;
use serde::Serialize;

use super::pf::rule::{Rule, parse_pf_rules};
use super::pf::table::Entry;
use super::pfsense::change::ConfigurationEdit;
use super::pfsense::config::single_port_of;
use super::pfsense::configured::{Configured, FilterRule, NatRule, parse_tracker};
use super::pfsense::edit::{EditIds, make_swap};
use super::pfsense::managed::ManagedPair;
use super::ratelimit::{self, Caps};
use super::service::Service;
use super::warning::{Warning, remove_repeats};

pub mod complete;
pub mod differences;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod matching;
pub mod pair;
pub mod path;
pub mod paths;
#[cfg(test)]
pub(crate) mod tests;
pub mod upnp;

use crate::text::word_enum;
pub use complete::{Completeness, looks_complete, looks_complete_translation};
use path::{Path, Query};
use paths::{Aftermath, PathIn, PathKind, Surroundings, Walk};

word_enum! {
    /// What the outside can do.
    pub enum State {
        /// Connections are redirected and let in, each source capped; if not to the service, the reason is `other-target`.
        Open = "open",
        /// The pair exists (or may: the configuration was not read), and pf lets nothing in.
        Closed = "closed",
        /// The pair is not whole, or it is closed and another path lets some in, which a finding names.
        Half = "half",
        /// Connections get in, and no cap per source is in force.
        Uncapped = "uncapped",
        /// There are no such rules, neither configured nor loaded, and nothing else redirects the port.
        Absent = "absent",
        /// The pair lets nothing in, and the rules alone do not say whether something else does.
        Unknown = "unknown",
    }
}

impl State {
    /// Returns whether connections from outside get in.
    pub fn lets_in(self) -> bool {
        matches!(self, Self::Open | Self::Uncapped)
    }
}

/// What pf runs, as its rules were read.
#[derive(Clone, Copy, Debug)]
pub struct Loaded<'a> {
    /// The rules of `pfctl -vvPsr`, in order.
    pub filter: &'a [Rule],
    /// The rules of `pfctl -vvPsn`, in order.
    pub nat: &'a [Rule],
    /// `pfctl -si` says `Status: Enabled`.
    pub enabled: bool,
    /// What `pfctl -t ALIAS -T show` lists for the service's alias.
    pub alias_table: AliasTable<'a>,
}

/// pf's table of the service's alias.
#[derive(Clone, Copy, Debug)]
pub enum AliasTable<'a> {
    /// It was not asked for, or there is none: then the rules name the addresses themselves.
    Unasked,
    /// It could not be read.
    Unread,
    Read(&'a [Entry]),
}

/// The judgement. Serialises as `data` of the schema `expose.show`; `rule.show` takes `nat`, `filter`, `block`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exposure {
    /// What the outside can do.
    pub state: State,
    /// The reason of the state first, then every oddity.
    pub why: Vec<Warning>,
    /// The port forward.
    pub nat: Part,
    /// The filter rule.
    pub filter: Part,
    /// The rule that blocks the overload table; pfSense generates it, so it is not configured.
    #[serde(skip)]
    pub block: Part,
    /// The redirection that takes the service's port to another target, where none leads to the service.
    #[serde(skip)]
    pub elsewhere: Part,
    /// The filter rule that decides about those connections.
    #[serde(skip)]
    pub elsewhere_filter: Part,
    /// pf is enabled; without it nothing is redirected, and nothing is filtered.
    #[serde(skip)]
    pub filtering: bool,
    /// The alias they point to.
    pub alias: AliasView,
    /// The caps, configured and loaded.
    pub caps: CapsView,
    /// What limits or marks the pair's traffic beside the caps: `max-src-states 3`, `os Linux`.
    #[serde(skip)]
    pub other_limits: Vec<String>,
    /// Every way into the service that is loaded, the managed pair's first.
    pub paths: Vec<PathIn>,
    /// What disables of the pair what opens nothing; none where each of its rules keeps something shut.
    #[serde(skip)]
    pub closed_by: Option<ConfigurationEdit>,
    /// What is so once that is done.
    #[serde(skip)]
    pub aftermath: Aftermath,
    /// What is so once the whole pair is disabled, or one of its rules.
    #[serde(skip)]
    pub closings: Vec<(ConfigurationEdit, Aftermath)>,
    /// The ways that would be opened, or lose their caps, if the whole pair were disabled.
    #[serde(skip)]
    pub would_open: Vec<PathIn>,
    /// The ways that the filter rule alone lets in once it is enabled, where the service has no port forward.
    #[serde(skip)]
    pub published: Vec<PathIn>,
    /// The rule that keeps connections from getting out to the service, even where another rule lets them in, and whether it
    /// keeps all of them, not only those from addresses that no rule names.
    #[serde(skip)]
    pub exit_block: Option<(String, bool)>,
    /// Neither rule is configured, and the firewall keeps what a `revoke --delete` of this service took away.
    #[serde(skip)]
    pub deleted: bool,
    /// What closes it: the command, or what to do by hand where that would be refused.
    #[serde(skip)]
    pub closing: String,
}

impl Exposure {
    /// Returns what is so once this is disabled of the pair.
    pub fn after_closing(&self, change: &ConfigurationEdit) -> Option<&Aftermath> {
        let mut closings = self.closings.iter();
        let found = closings.find(|(closing, _)| closing == change);
        found.or(self.closings.first()).map(|(_, after)| after)
    }

    /// Returns the finding of this code, if it is one of the reasons.
    pub fn finding_of_code(&self, code: &str) -> Option<&Warning> {
        self.why.iter().find(|finding| finding.code == code)
    }

    /// Returns what is said of rules in anchors that are not read.
    pub fn unread_anchors(&self) -> Vec<&str> {
        let why = self.why.iter();
        let unread = why.filter(|finding| finding.code == "anchor-unread");
        unread.map(|finding| finding.message.as_str()).collect()
    }

    /// Names the state for people: one that is half may be an open door all the same.
    pub fn state_words(&self) -> String {
        let is_open = self.state == State::Half && self.lets_in() == Some(true);
        format!("{}{}", self.state, if is_open { ", and not closed" } else { "" })
    }

    /// Says whether anyone outside gets in, by the pair or by another path; `None` where the rules alone do not say.
    pub fn lets_in(&self) -> Option<bool> {
        if self.state.lets_in() || self.paths.iter().any(|path| path.certain) {
            return Some(true);
        }
        let is_known = self.state != State::Unknown && self.unread_anchors().is_empty();
        (self.paths.is_empty() && is_known).then_some(false)
    }

    /// Counts a loaded rule that could not be read: it may be a path, whatever the others say.
    fn add_unread_rule(&mut self, rule: &str) {
        let path = PathIn {
            kind: PathKind::Unread,
            interface: String::new(),
            enters: String::new(),
            leads_to: String::new(),
            sources: "any".to_owned(),
            rule: rule.to_owned(),
            passed_by: None,
            managed: false,
            certain: false,
            caps: None,
        };
        let place = if self.state.lets_in() { self.why.len() } else { 0 };
        let message = format!(
            "A loaded rule that kmsctl cannot read may let connections in. {}",
            path.rule_clause()
        );
        self.why.insert(place, Warning::new("path-unknown", message));
        self.paths.push(path);
        self.state = beside_others(self.state, &self.paths);
    }

    /// Lists the paths that kmsctl does not manage, in one sentence; where there is none, what could hold some and is not read.
    pub fn paths_sentence(&self) -> String {
        let clauses = self.foreign_paths().map(|path| path.path_clause() + &path.caps_clause());
        let clauses: Vec<String> = clauses.collect();
        if clauses.is_empty() {
            return self.unread_anchors().join(" ");
        }
        format!("{}.", clauses.join("; "))
    }

    /// Says in a clause that the service is not closed, or that it is not known, and by what; `None` where it is closed.
    pub fn not_closed_clause(&self) -> Option<String> {
        if self.lets_in() == Some(false) {
            return None;
        }
        let words = if self.paths.is_empty() {
            "it is not known whether the service is closed"
        } else {
            "the service is not closed"
        };
        Some(format!("{words}: {}", self.paths_sentence()))
    }

    /// Says whether pf's table of the alias is not what the configuration says, while the rules that use it are loaded.
    pub fn is_alias_stale(&self) -> bool {
        self.finding_of_code("alias-stale").is_some()
    }

    /// Says how it is closed by hand, where kmsctl cannot do it: what leads in is taken away, path by path.
    pub fn closing_by_hand(&self, service: &Service) -> String {
        let door = format!(":{}", service.port);
        let is_at_door = |path: &&PathIn| {
            path.kind == PathKind::Forward
                && path.interface == service.interface
                && path.enters.ends_with(&door)
        };
        let others = self.paths.iter().filter(|path| !path.managed && !is_at_door(path));
        // What disabling the pair would open is taken away before it.
        let others = self.would_open.iter().chain(others);
        let mut steps: Vec<String> = others.filter_map(PathIn::closing_step).collect();
        let has_forward = self.nat.loaded
            || self.nat.enabled == Some(true)
            || self.elsewhere.loaded
            || self.paths.iter().any(|path| is_at_door(&path));
        if has_forward || steps.is_empty() {
            steps.insert(self.would_open.len().min(steps.len()), service.forward_step());
        }
        let mut seen = std::collections::BTreeSet::new();
        steps.retain(|step| seen.insert(step.clone()));
        service.by_hand_sentence(&steps)
    }

    /// Returns whether pf has one of the pair's rules.
    pub fn is_any_loaded(&self) -> bool {
        self.nat.loaded || self.filter.loaded
    }

    /// Lists, in a clause each, the paths beside the managed pair that let in for certain and cap no source.
    pub fn uncapped_paths(&self) -> Vec<String> {
        let uncapped = |path: &&PathIn| path.certain && path.caps.is_none_or(Caps::is_empty);
        self.foreign_paths().filter(uncapped).map(PathIn::path_clause).collect()
    }

    /// Returns where no source is capped, in a clause; `None` where no such path stands beside the managed pair.
    pub fn uncapped_clause(&self) -> Option<String> {
        let paths = self.uncapped_paths();
        (!paths.is_empty()).then(|| paths.join(", or where "))
    }

    /// Returns the paths that kmsctl does not manage.
    pub fn foreign_paths(&self) -> impl Iterator<Item = &PathIn> {
        self.paths.iter().filter(|path| !path.managed)
    }
}

/// One rule of the exposure. The serialised keys are those of the schema `rule.show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// It stands in config.xml; null where that was not read or does not apply.
    pub configured: Option<bool>,
    /// It stands there without `disabled`; null where `configured` is not true.
    pub enabled: Option<bool>,
    /// pf has it.
    pub loaded: bool,
    /// Its tracker, which is pf's `ridentifier`; redirections have none.
    pub tracker: Option<String>,
    /// Its caps: the loaded ones, or else the configured; null for rules that cannot have any.
    pub caps: Option<Caps>,
    /// Sums over the loaded rules that it became.
    pub counters: Option<Counters>,
    /// The administrator's description, for people.
    #[serde(skip)]
    pub description: Option<String>,
    /// The first loaded rule as pfctl prints it.
    #[serde(skip)]
    pub text: Option<String>,
}

impl Part {
    pub fn tracker_number(&self) -> Option<u32> {
        parse_tracker(self.tracker.as_deref()?)
    }

    /// Says where it stands, in the configuration and in pf.
    pub fn standing(&self) -> String {
        let configured = match (self.configured, self.enabled) {
            (None, _) => "configuration unknown",
            (Some(false), _) => "not configured",
            (_, Some(false)) => "configured, disabled",
            _ => "configured, enabled",
        };
        let loaded = if self.loaded { "loaded" } else { "not loaded" };
        format!("{configured}, {loaded}")
    }
}

/// Counters of a rule, summed where it was expanded into several. A reload starts states and their creations from zero;
/// the others go on (`set keepcounters`, which pfSense writes), also where the rule's caps changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Looks at the rule.
    pub evaluations: u64,
    /// Packets, those of its states included.
    pub packets: u64,
    /// Bytes, likewise.
    pub bytes: u64,
    /// Present states that the rule made since it was loaded last.
    pub states: u64,
    /// States made since it was loaded last, half-open ones too.
    pub state_creations: u64,
}

/// The alias, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AliasView {
    /// The name that was looked for.
    pub name: String,
    /// It exists; null where the configuration was not read.
    pub configured: Option<bool>,
    /// Its members.
    pub addresses: Vec<String>,
    /// Its only member is the service's address, nested aliases looked into; null where there is no alias, and where a
    /// member is a name or a list that only the firewall can resolve.
    pub as_expected: Option<bool>,
    /// The addresses and networks that its members are, but for names.
    #[serde(skip)]
    pub members: Vec<ipnet::IpNet>,
}

impl AliasView {
    /// Says how pf's table of the alias differs from the configuration, in a clause; where that was not read, it has to hold the
    /// service's address. Members that are names or lists are pfSense's to make addresses of.
    fn find_table_difference(&self, entries: &[Entry], service: &Service) -> Option<String> {
        let own = [IpNet::from(service.address)];
        let members = match self.configured {
            Some(true) => self.members.as_slice(),
            Some(false) => return None,
            None => &own,
        };
        let there = |net: &IpNet| entries.iter().any(|entry| !entry.negated && entry.net == *net);
        let table = format!("pf's table of the alias {}", self.name);
        if let Some(missing) = members.iter().map(IpNet::trunc).find(|member| !there(member)) {
            return Some(format!("{table} lacks {missing}"));
        }
        let is_member = |net: IpNet| members.iter().any(|member| member.trunc() == net);
        let mut entries = entries.iter().filter(|_| self.as_expected.is_some());
        let more = entries.find(|entry| !is_member(entry.net))?;
        Some(format!("{table} holds {}, which the configuration does not name", more.net))
    }

    /// Returns its members, but for names; `None` where the configuration was not read.
    pub fn members(&self) -> Option<Vec<ipnet::IpNet>> {
        self.configured?;
        Some(self.members.clone())
    }
}

/// Caps on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CapsView {
    /// Those pfSense would load; null where there is no rule, or the configuration was not read.
    pub configured: Option<Caps>,
    /// Those of the rule that lets connections in, or else of the loaded filter rule; null where none is loaded.
    pub loaded: Option<Caps>,
}

/// Judges the exposure. Without `configured` (PHP failed) it judges from the loaded rules alone, and says so.
pub fn judge(configured: Option<&Configured>, loaded: Loaded<'_>, service: &Service) -> Exposure {
    let pair = configured.map(|configured| ManagedPair::of_service(configured, service));
    let forward = pair.as_ref().and_then(ManagedPair::own_forward);
    let filter_rule = pair.as_ref().and_then(ManagedPair::own_filter);
    let inside = configured
        .and_then(|configured| single_port_of(&configured.aliases, forward?.local_port.as_deref()));
    let others =
        configured.map_or_else(Vec::new, |configured| trackers_of_others(configured, filter_rule));
    let sole_tracker = |own: &FilterRule| configured?.sole_tracker(own);
    let query = Query {
        service,
        device: outside_device(configured),
        outside: configured
            .and_then(|configured| configured.interface.as_ref()?.ipaddr.as_deref())
            .and_then(|address| address.parse().ok()),
        inside_port: inside.unwrap_or(service.port),
        others: &others,
        tracker: filter_rule.and_then(FilterRule::tracker_number),
        is_for_anyone: filter_rule.is_some_and(|rule| rule.source.any && !rule.source.not),
    };
    let path = Path::find(loaded.filter, loaded.nat, query);
    let around = Surroundings::new(configured, service, path.device, loaded);
    let managed = managed_redirection(forward, &path, configured);
    let walk = Walk::new(&around, loaded.filter, loaded.nat, managed, &path.passes);
    let (paths, closings) = if loaded.enabled {
        (walk.find_paths(), follow_closings(&walk, configured.zip(pair.as_ref()), &path, service))
    } else {
        let ways = walk.find_unfiltered();
        let after = Aftermath { left_open: ways.clone(), ..Aftermath::default() };
        (ways, vec![(ConfigurationEdit::Disable, after)])
    };
    let (closed_by, aftermath) = choose_closing(&closings).cloned().unzip();
    let closed_by = closed_by.filter(|_| configured.is_some() || !loaded.enabled);
    let whole = closings.first().filter(|_| configured.is_some());
    let would_open = whole.map(|(_, whole)| whole.opened.clone()).unwrap_or_default();
    let published = match (forward, filter_rule, path.device) {
        (None, Some(_), Some(device)) if loaded.enabled => {
            find_published(&around, loaded.nat, device)
        }
        _ => Vec::new(),
    };
    let (configured_caps, cap_findings) = filter_rule.map(ratelimit::of_configured).unzip();
    let own = paths.iter().filter(|path| path.managed);
    let own = own.max_by_key(|path| {
        let is_uncapped = path.caps.is_none_or(Caps::is_empty);
        (path.certain, path.sources == "any", is_uncapped)
    });
    let caps = CapsView {
        configured: configured_caps,
        loaded: own
            .filter(|own| own.certain && own.sources == "any" && own.passed_by.is_some())
            .map_or_else(|| loaded_caps(&path), |own| own.caps),
    };
    let known = !path.redirections.is_empty()
        || !path.passes.is_empty()
        || pair.as_ref().is_none_or(|_| forward.is_some() || filter_rule.is_some());
    let alone = if known {
        state(&path, loaded.enabled, caps)
    } else {
        state_elsewhere(&path, loaded.enabled)
    };
    // A rule that is for more than the service is loaded all the same.
    let own_lines: Vec<&Rule> = match filter_rule.and_then(sole_tracker) {
        Some(id) if path.passes.is_empty() => {
            let lines = loaded.filter.iter();
            lines.filter(|rule| rule.tracker() == Some(id)).collect()
        }
        _ => path.passes.clone(),
    };
    let alone = by_own_path(alone, &path, &own_lines, own);
    let state = beside_others(alone, &paths);
    let exit_block = walk.find_exit_block(path.inside_port.unwrap_or(service.port));
    let kept = (alone == State::Half && path.redirects && path.lets_in()).then_some(exit_block);
    let alias = alias(configured, service);
    let is_in_use = loaded.enabled && !(path.redirections.is_empty() && own_lines.is_empty());
    let in_table = match loaded.alias_table {
        AliasTable::Read(entries) if is_in_use => {
            let difference = alias.find_table_difference(entries, service);
            difference.map(|difference| differences::alias_stale(&difference))
        }
        AliasTable::Unread if is_in_use => Some(differences::alias_unread(service)),
        _ => None,
    };
    let reason = match kept {
        Some(exit_block) => in_table
            .clone()
            .filter(|found| found.code == "alias-stale")
            .or_else(|| empty_table(&path, &around).map(differences::empty_table))
            .unwrap_or_else(|| differences::kept_behind(exit_block.map(|(rule, _)| rule))),
        None => differences::state_reason(alone, known, &path, loaded, caps, service),
    };
    let mut why = differences::other_paths(alone, state, reason, &paths);
    why.extend(in_table);
    why.extend(differences::other_inside_port(&path, service));
    if loaded.enabled {
        why.extend(differences::default_pass(&path, loaded.filter));
        let other = path.elsewhere.filter(|_| known);
        why.extend(other.map(|other| differences::other_target(&other, service)));
    }
    why.extend(differences::configuration_warnings(configured, service));
    if let Some(configured) = configured
        && forward.is_none()
        && filter_rule.is_none()
    {
        why.extend(differences::configured_elsewhere(configured, service));
    }
    why.extend(cap_findings.unwrap_or_default());
    if let Some(pair) = pair.as_ref().filter(|_| state != State::Absent) {
        why.extend(differences::pair_differences(pair, &path, &own_lines, caps));
    }
    differences::look_at_loaded_caps(&path, service, &mut why);
    let other_limits = differences::other_limits(filter_rule, &path);
    why.extend(differences::limits_finding(&other_limits, caps.loaded.or(caps.configured)));
    let nat = nat_part(pair.as_ref(), &path);
    let filter = filter_part(pair.as_ref(), &own_lines, configured_caps);
    if let (Some(configured), Some(pair)) = (configured, &pair) {
        why.extend(pair::pair_findings(configured, pair, service));
    }
    why.extend(path.findings);
    why.extend(differences::reflection_warning(walk.count_reflections()));
    if loaded.enabled && !path.redirects {
        let other = walk.find_upnp_elsewhere();
        why.extend(other.map(|rule| differences::upnp_elsewhere(rule, service)));
    }
    if loaded.enabled && paths.is_empty() && matches!(state, State::Closed | State::Absent) {
        let rule = walk.find_pass_alone();
        why.extend(rule.map(|rule| differences::pass_alone(&rule, service)));
    }
    why.extend(differences::anchors_unread(loaded, service));
    remove_repeats(&mut why);
    let mut exposure = Exposure {
        state,
        why,
        nat,
        filter,
        block: loaded_part(&path.blocks),
        elsewhere: elsewhere_part(path.elsewhere),
        elsewhere_filter: loaded_part(path.elsewhere.and_then(|other| other.decides).as_slice()),
        filtering: loaded.enabled,
        alias,
        caps,
        other_limits,
        paths,
        closed_by,
        aftermath: aftermath.unwrap_or_default(),
        closings,
        would_open,
        published,
        exit_block: exit_block.map(|(rule, keeps_all)| (rule.text.clone(), keeps_all)),
        deleted: configured.is_some_and(|configured| configured.deleted.is_some()),
        closing: String::new(),
    };
    let mut rules = loaded.nat.iter().chain(loaded.filter);
    if let Some(unread) = rules.find(|rule| rule.is_unread()).filter(|_| loaded.enabled) {
        exposure.add_unread_rule(&unread.text);
    }
    let (read, closed_by) = (configured.zip(pair.as_ref()), exposure.closed_by.as_ref());
    exposure.closing = if can_revoke(read, closed_by, exposure.nat.loaded, service) {
        "Close it: `kmsctl expose revoke`".to_owned()
    } else {
        exposure.closing_by_hand(service)
    };
    exposure
}

/// Returns the ways in that translations, or a public address, leave to a filter rule on this device alone.
fn find_published(around: &Surroundings<'_>, nat: &[Rule], device: &str) -> Vec<PathIn> {
    let text = format!(
        "block drop in all\npass in quick on {device} proto tcp from any to any flags S/SA keep state\n"
    );
    let filter = parse_pf_rules(text.as_bytes()).value;
    Walk::new(around, &filter, nat, None, &[]).find_paths()
}

/// Follows what is so without the pair's rules, and without each alone where both are there.
fn follow_closings(
    walk: &Walk<'_, '_>,
    read: Option<(&Configured, &ManagedPair<'_>)>,
    path: &Path<'_>,
    service: &Service,
) -> Vec<(ConfigurationEdit, Aftermath)> {
    let is_own = |rule: &Rule| path.passes.iter().any(|own| std::ptr::eq(*own, rule));
    let Some((configured, pair)) = read else {
        return vec![(ConfigurationEdit::Disable, walk.follow_closing(true, is_own))];
    };
    // Where the forward was led elsewhere, and pf does not know it yet, the filter rule stays.
    let own = pair.closing_filter(configured, &service.into());
    let own = own.filter(|_| pair.forward_elsewhere().is_none());
    let goes = |rule: &Rule| {
        own.is_some_and(|own| {
            let has_it = own.tracker_number().is_none_or(|id| rule.tracker() == Some(id));
            has_it && (is_own(rule) || configured.sole_tracker(own).is_some())
        })
    };
    let mut closings = vec![(ConfigurationEdit::Disable, walk.follow_closing(true, goes))];
    if own.is_some() && pair.own_forward().is_some() {
        let by_forward = walk.follow_closing(true, |_| false);
        closings.push((ConfigurationEdit::DisableForward, by_forward));
        closings.push((ConfigurationEdit::DisableFilter, walk.follow_closing(false, goes)));
    }
    closings
}

/// Chooses what a closing disables so that it opens nothing: both rules, or one of them.
fn choose_closing(
    closings: &[(ConfigurationEdit, Aftermath)],
) -> Option<&(ConfigurationEdit, Aftermath)> {
    let (whole, parts) = closings.split_first()?;
    if whole.1.opened.is_empty() {
        return Some(whole);
    }
    let parts = parts.iter().filter(|(change, after)| {
        let is_shut = *change == ConfigurationEdit::DisableForward
            || !after.left_open.iter().any(|path| path.managed);
        after.opened.is_empty() && is_shut
    });
    parts.min_by_key(|(_, after)| after.left_open.len())
}

/// Says whether `expose revoke` closes the pair. That it can be disabled is asked of the edit itself.
fn can_revoke(
    read: Option<(&Configured, &ManagedPair<'_>)>,
    closed_by: Option<&ConfigurationEdit>,
    is_redirected: bool,
    service: &Service,
) -> bool {
    let can_disable = read.is_some_and(|(configured, pair)| {
        if is_redirected && pair.forward_away(configured, &service.into()).is_some() {
            return true;
        }
        if pair.own_forward().is_none() && pair.own_filter().is_none() {
            return pair.forward_elsewhere().is_none_or(|other| other.disabled);
        }
        let ids = EditIds { who: "", now: 0, association: "" };
        closed_by.is_some_and(|change| make_swap(configured, change, &service.into(), &ids).is_ok())
    });
    let filters = read.is_none_or(|(configured, _)| !configured.filter_disabled);
    can_disable && filters
}

/// Returns the loaded redirection that the configured port forward has become: of several to the service on its device
/// the first one for its own address.
fn managed_redirection<'a>(
    forward: Option<&NatRule>,
    path: &Path<'a>,
    configured: Option<&Configured>,
) -> Option<&'a Rule> {
    let destination = forward.map(|rule| &rule.destination);
    let own = configured.and_then(|configured| configured.interface.as_ref()?.ipaddr.as_deref());
    let wanted: Option<std::net::IpAddr> = destination.and_then(|side| {
        let text = match side.network.as_deref() {
            Some(network) if network.ends_with("ip") => own,
            _ => side.address.as_deref(),
        };
        text?.trim().parse().ok()
    });
    let here = |rule: &&&Rule| {
        let loaded: Option<std::net::IpAddr> = rule.to.host.parse().ok();
        wanted.is_none() || loaded.is_none() || wanted == loaded
    };
    let general = |rule: &&&Rule| here(rule) && matching::from_anywhere(rule);
    let mut redirections = path.redirections.iter();
    let found = redirections.clone().find(general);
    let found = found.or_else(|| redirections.clone().find(here));
    // The address is written into the rule when it is loaded: after a change of it without a reload the pair's rule still has
    // the old one. What another configured forward explains is that forward's.
    let others: Vec<std::net::IpAddr> = configured
        .map(|configured| configured.all_nat.as_slice())
        .unwrap_or_default()
        .iter()
        .filter(|rule| forward.is_none_or(|own| own.index != rule.index))
        .filter_map(|rule| rule.destination.address.as_deref()?.trim().parse().ok())
        .collect();
    let enabled = forward.is_some_and(|rule| !rule.disabled);
    let unexplained = |rule: &&&Rule| {
        let loaded: Option<std::net::IpAddr> = rule.to.host.parse().ok();
        loaded.is_some_and(|loaded| !others.contains(&loaded))
    };
    found.or_else(|| redirections.find(unexplained).filter(|_| enabled)).copied()
}

/// Returns a table that the loaded pair leads to, or is for, and that holds nothing.
fn empty_table<'r>(path: &Path<'r>, around: &Surroundings<'_>) -> Option<&'r str> {
    let rules = path.redirections.iter().chain(&path.passes);
    let mut hosts = rules.flat_map(|rule| {
        let ends = [&rule.from, &rule.to].into_iter().filter(|end| !end.negated);
        ends.map(|end| end.host.as_str()).chain(rule.target_hosts())
    });
    hosts.find_map(|host| matching::table_name(host).filter(|table| around.is_empty_table(table)))
}

/// Corrects what the loaded pair looks like by the path that it makes: open means that it leads in. Where the port leads to
/// another target instead, that says who gets in.
fn by_own_path(alone: State, path: &Path<'_>, own_lines: &[&Rule], own: Option<&PathIn>) -> State {
    let passes_itself = |own: &PathIn| {
        let is_it = |text: &String| own_lines.iter().any(|rule| rule.text == *text);
        own.passed_by.as_ref().is_none_or(is_it)
    };
    match own {
        Some(own)
            if own.certain && (own.sources == "any" || alone.lets_in() && passes_itself(own)) =>
        {
            if own.caps.is_none_or(Caps::is_empty) {
                State::Uncapped
            } else {
                State::Open
            }
        }
        // Some get in, and it is named who.
        Some(own) if own.certain => State::Half,
        Some(_) => State::Unknown,
        None if alone.lets_in() && !path.redirections.is_empty() => State::Half,
        None => alone,
    }
}

/// Corrects it where other paths lead in: closed means that none does.
fn beside_others(alone: State, paths: &[PathIn]) -> State {
    let others = || paths.iter().filter(|path| !path.managed);
    let certain = others().any(|path| path.certain);
    match alone {
        State::Open | State::Uncapped if paths.iter().any(|path| path.managed) => alone,
        _ if certain => State::Half,
        State::Closed | State::Absent if others().next().is_some() => State::Unknown,
        _ => alone,
    }
}

/// Returns the trackers of enabled filter rules that are not the pair's: what pf has loaded of them is theirs.
fn trackers_of_others(configured: &Configured, own: Option<&FilterRule>) -> Vec<u32> {
    let mine = own.and_then(FilterRule::tracker_number);
    let rules = configured.all_filter.iter();
    rules
        .filter(|rule| !rule.disabled)
        .filter_map(FilterRule::tracker_number)
        .filter(|tracker| Some(*tracker) != mine)
        .collect()
}

fn outside_device(configured: Option<&Configured>) -> Option<&str> {
    let device = configured?.interface.as_ref()?.device.as_deref();
    device.filter(|name| !name.is_empty())
}

fn elsewhere_part(other: Option<path::OtherRedirection<'_>>) -> Part {
    loaded_part(other.map(|other| other.redirection).as_slice())
}

fn state(path: &Path<'_>, enabled: bool, caps: CapsView) -> State {
    let lets_in = path.redirection_passes() || path.lets_in();
    // Without a deciding rule it is pf's own default that passes, and that has no caps.
    let uncapped = path.redirection_passes()
        || path.decides.is_none()
        || caps.loaded.is_none_or(Caps::is_empty);
    match (enabled && path.redirects, lets_in) {
        (true, true) if uncapped => State::Uncapped,
        (true, true) => State::Open,
        (true, false) => State::Half,
        (false, _) if enabled && !path.passes.is_empty() => State::Half,
        (false, _) => State::Closed,
    }
}

/// Judges where the exposure's own rules are neither configured nor loaded: the port can still lead somewhere.
fn state_elsewhere(path: &Path<'_>, enabled: bool) -> State {
    match &path.elsewhere {
        None => State::Absent,
        Some(_) if !enabled => State::Closed,
        Some(other) if !other.lets_in() => State::Half,
        Some(other) if other.caps().is_empty() => State::Uncapped,
        Some(_) => State::Open,
    }
}

fn loaded_caps(path: &Path<'_>) -> Option<Caps> {
    if let Some(other) = path.elsewhere.filter(path::OtherRedirection::lets_in)
        && path.passes.is_empty()
    {
        return Some(other.caps());
    }
    let deciding = path.decides.filter(|_| path.redirects && path.lets_in());
    deciding.or(path.passes.first().copied()).map(Caps::of_loaded)
}

fn nat_part(pair: Option<&ManagedPair<'_>>, path: &Path<'_>) -> Part {
    let rule = pair.and_then(ManagedPair::own_forward);
    Part {
        configured: pair.map(|_| rule.is_some()),
        enabled: rule.map(|rule| !rule.disabled),
        description: rule.and_then(|rule| rule.descr.clone()),
        ..loaded_part(&path.redirections)
    }
}

fn filter_part(
    pair: Option<&ManagedPair<'_>>,
    own_lines: &[&Rule],
    configured_caps: Option<Caps>,
) -> Part {
    let rule = pair.and_then(ManagedPair::own_filter);
    let loaded = loaded_part(own_lines);
    let tracker = rule.and_then(|rule| rule.tracker.clone()).filter(|tracker| !tracker.is_empty());
    Part {
        configured: pair.map(|_| rule.is_some()),
        enabled: rule.map(|rule| !rule.disabled),
        tracker: tracker.or(loaded.tracker),
        caps: own_lines.first().map(|rule| Caps::of_loaded(rule)).or(configured_caps),
        description: rule.and_then(|rule| rule.descr.clone()),
        ..loaded
    }
}

fn loaded_part(rules: &[&Rule]) -> Part {
    let counters = rules.iter().filter_map(|rule| rule.counters.as_ref()).fold(
        None,
        |sum: Option<Counters>, counters| {
            let sum = sum.unwrap_or_default();
            Some(Counters {
                evaluations: sum.evaluations.saturating_add(counters.evaluations),
                packets: sum.packets.saturating_add(counters.packets),
                bytes: sum.bytes.saturating_add(counters.bytes),
                states: sum.states.saturating_add(counters.states),
                state_creations: sum.state_creations.saturating_add(counters.state_creations),
            })
        },
    );
    Part {
        loaded: !rules.is_empty(),
        tracker: rules.iter().find_map(|rule| rule.ridentifier).map(|id| id.to_string()),
        counters,
        text: rules.first().map(|rule| rule.text.clone()),
        ..Part::default()
    }
}

fn alias(configured: Option<&Configured>, service: &Service) -> AliasView {
    let alias = configured.and_then(|configured| configured.alias.as_ref());
    let members: Vec<String> = alias
        .and_then(|alias| alias.address.as_deref())
        .map(|text| text.split_ascii_whitespace().map(str::to_owned).collect())
        .unwrap_or_default();
    let resolved = configured.and_then(Configured::resolved_members);
    AliasView {
        name: service.alias.clone(),
        configured: configured.map(|configured| configured.alias.is_some()),
        as_expected: alias.and(resolved.as_ref()).map(|resolved| {
            let wanted = ipnet::IpNet::from(service.address);
            !resolved.is_empty() && resolved.iter().all(|member| *member == wanted)
        }),
        addresses: members,
        members: configured.map(Configured::alias_networks).unwrap_or_default(),
    }
}
