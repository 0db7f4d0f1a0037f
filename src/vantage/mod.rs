//! Vantages: places outside from where the service is tried. The edge only: connects, speaks the bind, asks check
//! services, and counts what it spends; what it all means is [`crate::domain::reachability::external`]'s matter.
//!
//! Every vantage follows the same timing: an attempt waits 3 s, three attempts 1 s apart make a "no", one connection
//! makes a "yes", and no address connects more than five times a minute, lest the firewall's caps shut it out.

pub mod budget;
pub mod check_host;
pub mod inside;
pub(crate) mod one;
pub mod probe;
pub mod prove;
pub mod resolver;
pub mod ssh;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::Instant;

use budget::{Budget, Permit, Spender};

use crate::clock::Clock;
use crate::text::format_span;

/// One run of attempts from one vantage.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub spender: &'a Spender,
    pub target: SocketAddr,
    pub speaks_kms: bool,
    /// Host and port that are known to be open.
    pub control: Option<&'a (String, u16)>,
    /// No attempt begins after this.
    pub deadline: Instant,
    /// Everything is over by then; what is not known by then is reported as unknown.
    pub end: Instant,
    /// One attempt is enough, for this reason: the vantage is known to be shut out.
    pub only_one: Option<&'a str>,
    pub budget: &'a Budget,
    pub clock: Clock,
}

impl Task<'_> {
    /// Counts one more connection; returns why none may begin now.
    pub fn permission(&self) -> Option<String> {
        if Instant::now() > self.deadline {
            return Some("the time of the whole run is over".to_owned());
        }
        match self.budget.take(self.spender, self.clock.now()) {
            Ok(Permit::Granted) => None,
            Ok(Permit::Wait(seconds)) => Some(format!(
                "a vantage connects at most {} times a minute, lest the caps block it; the next may in {}",
                budget::MOST,
                format_span(seconds)
            )),
            Err(error) => Some(format!("what was spent cannot be counted: {error}")),
        }
    }
}

/// Runs several futures at a time and returns their results in order.
pub async fn join_in_order<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<(Pin<Box<_>>, Option<T>)> =
        futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut waiting = false;
        for (future, result) in &mut running {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}
