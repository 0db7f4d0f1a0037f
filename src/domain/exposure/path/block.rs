//! The rule that keeps the addresses of the overload table out: is it there, and does it reach their packets?
//!
//! pfSense writes it without interface, protocol or port, before every rule of a user; anything else is a user's.

use super::super::matching::{Truth, endpoint_includes, table_name};
use super::{Path, Query, looks_at};
use crate::domain::pf::rule::{Action, Direction, Rule};

impl<'a> Path<'a> {
    pub(super) fn find_blocks(&mut self, filter: &'a [Rule], query: Query<'_>) {
        let table = query.service.table.as_str();
        let blocks = |rule: &&Rule| {
            rule.action == Action::Block
                && rule.depth == 0
                && !rule.from.negated
                && table_name(&rule.from.host) == Some(table)
        };
        self.blocks = filter.iter().filter(blocks).collect();
        if self.blocks.is_empty() {
            self.say(
                "block-missing",
                format!(
                    "No loaded rule blocks the table {table}: addresses in it are not kept out."
                ),
            );
            return;
        }
        let passes = |rule: &&Rule| {
            rule.action == Action::Pass
                && rule.quick
                && looks_at(rule, query)
                && endpoint_includes(&rule.to, query.service) != Truth::No
        };
        let first_pass = filter.iter().find(passes);
        let faults: Vec<String> =
            self.blocks.iter().filter_map(|block| block_fault(block, filter, first_pass)).collect();
        if let Some(first) = faults.first().filter(|_| faults.len() == self.blocks.len()) {
            self.say(
                "block-ineffective",
                format!("The loaded rule that blocks the table {table} does not keep its addresses out: {first}."),
            );
        }
    }
}

/// Says why a block rule lets packets of the table's addresses through, if it does.
fn block_fault(block: &Rule, filter: &[Rule], first_pass: Option<&Rule>) -> Option<String> {
    let place = |wanted: &Rule| filter.iter().position(|rule| std::ptr::eq(rule, wanted));
    if !block.quick {
        return Some("it is not quick, so a later rule overrides it".into());
    }
    if block.direction == Some(Direction::Out) {
        return Some("it looks at outbound packets only".into());
    }
    if let Some(interface) = &block.interface {
        let sign = if interface.negated { "! " } else { "" };
        return Some(format!("it looks at packets on {sign}{} only", interface.name));
    }
    if let Some(protocol) = &block.protocol {
        return Some(format!("it looks at {protocol} only"));
    }
    if block.from.port.is_some() || block.to.port.is_some() {
        return Some("it looks at some ports only".into());
    }
    if block.to.host != "any" || block.to.negated {
        return Some("it looks at some destinations only".into());
    }
    first_pass
        .filter(|pass| place(pass) < place(block))
        .map(|pass| format!("another rule passes them before: {}", pass.text))
}
