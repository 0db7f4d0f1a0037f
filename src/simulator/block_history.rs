//! A day of blocked addresses as an exporter beside the simulated firewall would have kept it.

use jiff::{SignedDuration, Timestamp};

use super::cluster::is_client;
use super::world::World;
use crate::domain::address::network_text;
use crate::domain::virusprot::block_log::{BlockChange, BlockEvent};
use crate::text::whole_second;

/// Address, minutes before the box came to be that it was blocked, for how many minutes, states at the end, a customer.
const DAY: [(&str, i64, i64, u64, bool); 6] = [
    ("203.0.113.9", 1_370, 110, 0, false),
    ("203.0.113.65", 1_024, 64, 2, true),
    ("2001:db8:bad::4", 811, 91, 0, false),
    ("203.0.113.200", 502, 62, 0, false),
    ("198.51.100.68", 388, 68, 1, true),
    ("203.0.113.9", 251, 71, 0, false),
];

/// Returns the events of that day, oldest first.
pub fn past_block_events(birth: Timestamp) -> Vec<BlockEvent> {
    let ago =
        |minutes: i64| birth.saturating_sub(SignedDuration::from_mins(minutes)).unwrap_or(birth);
    let mut events: Vec<BlockEvent> = DAY
        .into_iter()
        .flat_map(|(address, began, lasted, connections, customer)| {
            let event = |event, at| BlockEvent {
                at,
                event,
                address: address.to_owned(),
                since: Some(ago(began)),
                connections,
                customer: Some(customer),
            };
            [
                event(BlockChange::Blocked, ago(began)),
                event(BlockChange::Released, ago(began - lasted)),
            ]
        })
        .collect();
    events.sort_by_key(|event| event.at);
    events
}

/// Returns when those that are blocked now were, oldest first.
pub fn present_block_events(world: &World) -> Vec<BlockEvent> {
    let table = world.pf.table("virusprot");
    let entries = table.iter().flat_map(|table| &table.entries);
    let mut events: Vec<BlockEvent> = entries
        .filter_map(|(net, since)| {
            let at = whole_second(Timestamp::from_millisecond(*since).ok()?);
            let address = network_text(net);
            Some(BlockEvent {
                at,
                event: BlockChange::Blocked,
                customer: Some(is_client(&address)),
                address,
                since: Some(at),
                connections: 0,
            })
        })
        .collect();
    events.sort_by_key(|event| event.at);
    events
}
