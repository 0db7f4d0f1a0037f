//! Makes alias, port forward, filter rule and caps what the service needs, from what is there: only what differs is
//! touched, and what is new has the shape of pfSense's own pages. Who may connect (`source`) is the administrator's.

use std::cmp::Ordering;

use super::{Draft, EditRefusal, RefusalCode, refuse_edit, write_caps, write_text};
use crate::domain::pf::rule::Rate;
use crate::domain::pfsense::change::Element;
use crate::domain::pfsense::config::{ReadRequest, members_of_alias, port_field_is};
use crate::domain::pfsense::deciding::find_floating_pass;
use crate::domain::pfsense::managed::association_of;
use crate::domain::pfsense::separators::{insert_rule, separators_of};
use crate::text::quoted;

/// The longest description of a filter rule that the port forward page makes, in bytes.
const LONGEST_DESCRIPTION: usize = 62;

type Caps = (Option<u32>, Option<Rate>);

impl Draft<'_> {
    pub(super) fn build(
        &mut self,
        description: &str,
        caps: Caps,
        alias: bool,
    ) -> Result<(), EditRefusal> {
        self.build_alias(alias)?;
        if let Some(forward) = self.forward() {
            self.check_one_port(forward, false)?;
            if !self.pair.is_ours && !alias {
                return self.refuse_elsewhere(forward);
            }
        }
        self.check_inside_port()?;
        if self.filter.is_none()
            && let Some(rule) = find_floating_pass(self.configured, self.service)
        {
            let clause = format!(
                "the floating rule {} lets the service's traffic in before any rule of the interface does; remove it, or change it in the GUI",
                quoted(rule.descr.as_deref().unwrap_or_default())
            );
            return refuse_edit(RefusalCode::FloatingDecides, clause);
        }
        let id = self.shared_association();
        self.build_forward(description, &id);
        self.build_pass(description, caps, &id);
        Ok(())
    }

    fn append_rule(&mut self, section: &str, rule: Element) -> usize {
        let before = separators_of(&self.sections, section);
        insert_rule(&mut self.sections, section, usize::MAX, rule, &before)
    }

    /// Returns the association that joins the two: the one they share, or that one of them has, or a new one where a rule
    /// of others has that too.
    fn shared_association(&self) -> String {
        let (forward, pass) = (self.forward(), self.pass());
        let is_taken = |id: &&str| {
            let joined =
                |association: &Option<String>| association_of(association.as_ref()) == Some(*id);
            let mut nat = self.configured.all_nat.iter();
            let mut filter = self.configured.all_filter.iter();
            nat.any(|rule| {
                !rule.nordr
                    && forward.is_none_or(|own| own.index != rule.index)
                    && joined(&rule.association)
            }) || filter.any(|rule| {
                pass.is_none_or(|own| own.index != rule.index) && joined(&rule.association)
            })
        };
        let of_forward = self
            .forward()
            .and_then(|rule| association_of(rule.association.as_ref()))
            .filter(|id| !is_taken(id));
        let of_pass = self
            .pass()
            .and_then(|rule| association_of(rule.association.as_ref()))
            .filter(|id| !is_taken(id));
        match (of_forward, of_pass) {
            (Some(id), None) => id.to_owned(),
            (Some(id), Some(other)) if id == other => id.to_owned(),
            (None, Some(id)) if self.nat.is_none() => id.to_owned(),
            _ => self.ids.association.to_owned(),
        }
    }

    fn build_alias(&mut self, may: bool) -> Result<(), EditRefusal> {
        let service = self.service;
        if self.alias.is_none() && !may {
            let clause = format!("there is no alias {}", service.alias);
            return refuse_edit(RefusalCode::NoAlias, clause);
        }
        if !may {
            return Ok(());
        }
        let address = service.address.to_string();
        let members = members_of_alias(&self.configured.aliases, &service.alias);
        let is_right = members == Some(vec![ipnet::IpNet::from(service.address)]);
        let place = self.alias;
        self.alias = self.sections.edit_list("aliases", "alias", |aliases| {
            let Some(alias) = place.and_then(|place| aliases.get_mut(place)) else {
                let record = Element::of_texts([
                    ("name", service.alias.as_str()),
                    ("type", "host"),
                    ("address", address.as_str()),
                    ("descr", ""),
                    ("detail", ""),
                ]);
                // The alias page sorts by name; others are not moved for ours.
                let before = |alias: &Element| {
                    let name = alias.child_text("name").unwrap_or_default().to_lowercase();
                    name.cmp(&service.alias.to_lowercase()) == Ordering::Less
                };
                let place = aliases.iter().rposition(before).map_or(0, |last| last + 1);
                aliases.insert(place, record);
                return Some(place);
            };
            if !is_right {
                alias.set_child("address", address.as_str());
                // Descriptions of the members, one each.
                alias.set_child("detail", "");
            }
            write_text(alias, "type", Some("host"));
            place
        });
        Ok(())
    }

    fn build_forward(&mut self, description: &str, id: &str) {
        let (service, stamp) = (self.service, self.ids.stamp_element());
        if self.nat.is_none() {
            let rule = new_forward(service, description, id, &stamp);
            self.nat = Some(self.append_rule("nat", rule));
            return;
        }
        let inside = self.forward().and_then(|rule| rule.local_port.as_deref());
        let same_inside = port_field_is(&self.configured.aliases, inside, service.port);
        self.edit_rule("nat", self.nat, |rule| {
            let mut differs = rule.remove("disabled");
            let destination = rule.get("destination").cloned().unwrap_or_default();
            let empty = |key| destination.child_text(key).unwrap_or_default().is_empty();
            // A virtual address of the firewall is as good as its own; anything else is not an address of the outside.
            if destination.has_child("not")
                || destination.has_child("any")
                || (empty("network") && empty("address"))
            {
                rule.set_child("destination", outside_element(service));
                differs = true;
            }
            differs |= write_text(rule, "protocol", Some("tcp"));
            differs |= write_text(rule, "target", Some(&service.alias));
            if !same_inside {
                differs |= write_text(rule, "local-port", Some(&service.port.to_string()));
            }
            differs |= write_text(rule, "associated-rule-id", Some(id));
            if differs {
                rule.set_child("updated", stamp);
            }
        });
    }

    fn build_pass(&mut self, description: &str, caps: Caps, id: &str) {
        let (service, stamp) = (self.service, self.ids.stamp_element());
        if self.filter.is_none() {
            let rule = self.new_pass(description, caps, id);
            self.filter = Some(self.append_rule("filter", rule));
            return;
        }
        let port = self.pass().and_then(|rule| rule.destination.port.as_deref());
        let same_port = port_field_is(&self.configured.aliases, port, service.port)
            && port.is_some_and(|port| port.trim() == port);
        self.edit_rule("filter", self.filter, |rule| {
            let mut differs = rule.remove("disabled");
            differs |= set_way(rule, service, same_port);
            differs |= write_text(rule, "protocol", Some("tcp"));
            if !rule.child_text("type").unwrap_or_default().is_empty() {
                differs |= write_text(rule, "type", Some("pass"));
            }
            if rule.child_text("statetype") == Some("none") {
                differs |= write_text(rule, "statetype", Some("keep state"));
            }
            differs |= write_text(rule, "associated-rule-id", Some(id));
            differs |= write_caps(rule, caps.0, caps.1);
            if differs {
                rule.set_child("updated", stamp);
            }
        });
    }

    fn new_pass(&self, description: &str, caps: Caps, id: &str) -> Element {
        let service = self.service;
        let mut tracker = self.ids.now;
        while self.is_tracker_taken(&tracker.to_string()) {
            tracker += 1;
        }
        let mut rule = Element::Map(Vec::new());
        rule.set_child("source", Element::of_texts([("any", "")]));
        rule.set_child("interface", service.interface.as_str());
        rule.set_child("ipprotocol", address_family(service));
        rule.set_child("protocol", "tcp");
        rule.set_child("destination", inside_element(service));
        write_caps(&mut rule, caps.0, caps.1);
        let described = cut_at_character(&format!("NAT {description}"), LONGEST_DESCRIPTION);
        rule.set_child("descr", described.as_str());
        rule.set_child("associated-rule-id", id);
        rule.set_child("tracker", tracker.to_string().as_str());
        let time = self.ids.now.to_string();
        let created = [("time", time.as_str()), ("username", "NAT Port Forward")];
        rule.set_child("created", Element::of_texts(created));
        rule
    }
}

fn address_family(service: &ReadRequest) -> &'static str {
    if service.address.is_ipv4() { "inet" } else { "inet6" }
}

fn outside_element(service: &ReadRequest) -> Element {
    let (network, port) = (format!("{}ip", service.interface), service.port.to_string());
    Element::of_texts([("network", network.as_str()), ("port", port.as_str())])
}

fn inside_element(service: &ReadRequest) -> Element {
    let port = service.port.to_string();
    Element::of_texts([("address", service.alias.as_str()), ("port", port.as_str())])
}

/// Lets a filter rule in to the service and nowhere else. Returns whether it did not before.
fn set_way(rule: &mut Element, service: &ReadRequest, same_port: bool) -> bool {
    let field = |key| {
        let side = rule.get("destination");
        side.and_then(|side| side.child_text(key)).unwrap_or_default()
    };
    let wide =
        rule.get("destination").is_some_and(|side| side.has_child("not") || side.has_child("any"));
    let same =
        !wide && field("network").is_empty() && field("address") == service.alias && same_port;
    if !same {
        rule.set_child("destination", inside_element(service));
    }
    !same
}

fn new_forward(service: &ReadRequest, description: &str, id: &str, stamp: &Element) -> Element {
    let port = service.port.to_string();
    let mut rule = Element::Map(Vec::new());
    rule.set_child("source", Element::of_texts([("any", "")]));
    rule.set_child("destination", outside_element(service));
    rule.set_child("ipprotocol", address_family(service));
    rule.set_child("protocol", "tcp");
    rule.set_child("target", service.alias.as_str());
    rule.set_child("local-port", port.as_str());
    rule.set_child("interface", service.interface.as_str());
    rule.set_child("descr", description);
    rule.set_child("associated-rule-id", id);
    rule.set_child("updated", stamp.clone());
    rule.set_child("created", stamp.clone());
    rule
}

/// Cuts a description at pfSense's length in bytes, at a character.
fn cut_at_character(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
