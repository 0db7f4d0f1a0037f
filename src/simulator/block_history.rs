//! A day of blocked addresses as an exporter beside the simulated firewall would have kept it.

use jiff::{SignedDuration, Timestamp};

use crate::domain::virusprot::block_log::{BlockChange, BlockEvent};

/// Address, minutes ago that it was blocked, for how many minutes, states at the end, a customer.
const DAY: [(&str, i64, i64, u64, bool); 6] = [
    ("203.0.113.9", 1_370, 110, 0, false),
    ("203.0.113.65", 1_024, 64, 2, true),
    ("2001:db8:bad::4", 811, 91, 0, false),
    ("203.0.113.200", 502, 62, 0, false),
    ("198.51.100.68", 388, 68, 1, true),
    ("203.0.113.9", 251, 71, 0, false),
];

/// Returns its events, oldest first.
pub fn past_block_events(now: Timestamp) -> Vec<BlockEvent> {
    let ago = |minutes: i64| now.saturating_sub(SignedDuration::from_mins(minutes)).unwrap_or(now);
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
