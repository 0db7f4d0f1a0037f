//! What a log is like: four profiles, and every figure behind them.

use super::words::{Form, Labels};
use super::{SECOND, Simulated, Simulation};

/// What a log is like.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Words of the detail lines.
    pub labels: Labels,
    /// Verbose or short.
    pub form: Form,
    /// Length in seconds of the server's clock.
    pub seconds: u64,
    /// When it begins, Unix seconds.
    pub start: i64,
    /// The cluster's node looks every 5 s and every 30 s.
    pub kubelet: bool,
    /// A monitor looks every so many seconds; 0 for none.
    pub monitor: u64,
    /// Connections with requests a minute.
    pub activations: f64,
    /// Connections a minute that come and go at once, from anywhere.
    pub scanners: f64,
    /// Connections a minute that stay 0.2–10 s and say nothing.
    pub holders: f64,
    /// Connections a minute that send something that is no request.
    pub garbage: f64,
    /// Bursts: every so many seconds, for so many seconds, so many connections a second; zeroes for none.
    pub bursts: [u64; 3],
    /// Machines that come back.
    pub machines: usize,
    /// Share of connections from a machine that never comes back.
    pub strangers: f64,
    /// Share of connections of a known machine from a new address.
    pub roaming: f64,
    /// Share of connections with more than one request.
    pub several: f64,
    /// Share of known machines behind the address of another one.
    pub shared: f64,
    /// Share of known machines with the ID of another one, as cloned disks have it.
    pub clones: f64,
    /// Share of connections whose first request is lost once or twice on its way, and comes after 1 or 3 s.
    pub slow: f64,
    /// Share of connections whose first request comes any time before the server's idle time-out.
    pub late: f64,
    /// Share of connections that speak for another machine with each request, as a program that tests servers does.
    pub changers: f64,
    /// Connections a minute of an attacker, with the ID and the name of a known machine, from addresses of its own and of the crowd.
    pub thieves: f64,
    /// Share of silent connections from one address, as of a crowd behind it, where some of the machines are too.
    pub crowd: f64,
    /// Share of connections with requests after which the client connects again within the second.
    pub hasty: f64,
    /// The server's idle time-out in seconds.
    pub idle: u64,
    /// The clock goes an hour ahead, and back the next time, every so many seconds; 0 for never.
    pub steps: u64,
    /// The log begins so many seconds after the server.
    pub headless: u64,
    /// Share of requests that are refused; only newer servers refuse.
    pub refusals: f64,
    /// Share of connections with requests whose child dies.
    pub crashes: f64,
    /// The server starts again every so many seconds; 0 for never.
    pub restarts: u64,
    /// Share of requests with a workstation name made to deceive.
    pub hostile: f64,
    /// Lines a minute that no server writes: no stamp, no UTF-8, too long.
    pub noise: f64,
    /// The last line is cut in the middle.
    pub cut: bool,
}

impl Profile {
    /// A day as production has it: the node's probes, one monitor, six activations an hour.
    pub fn quiet() -> Self {
        Self {
            labels: Labels::Old,
            form: Form::Verbose,
            seconds: 24 * 3600,
            start: 1_778_410_800,
            kubelet: true,
            monitor: 60,
            activations: 0.1,
            scanners: 0.0,
            holders: 0.0,
            garbage: 0.0,
            bursts: [0; 3],
            machines: 40,
            strangers: 0.1,
            roaming: 0.02,
            several: 0.2,
            shared: 0.0,
            clones: 0.0,
            slow: 0.0,
            late: 0.0,
            changers: 0.0,
            thieves: 0.0,
            crowd: 0.0,
            hasty: 0.0,
            idle: 30,
            steps: 0,
            headless: 0,
            refusals: 0.02,
            crashes: 0.0,
            restarts: 0,
            hostile: 0.0,
            noise: 0.0,
            cut: false,
        }
    }

    /// Twelve hours of 20 activations and 40 scans a minute.
    pub fn busy() -> Self {
        Self {
            seconds: 12 * 3600,
            activations: 20.0,
            scanners: 40.0,
            garbage: 0.05,
            machines: 300,
            strangers: 0.05,
            several: 0.1,
            crashes: 0.002,
            ..Self::quiet()
        }
    }

    /// An hour with ten seconds of 300 connections a second in every minute, among few activations.
    pub fn flood() -> Self {
        Self {
            seconds: 3600,
            activations: 10.0,
            holders: 2.0,
            bursts: [60, 10, 300],
            ..Self::busy()
        }
    }

    /// An hour of names made to deceive, garbage, crashes, restarts and slow scanners.
    pub fn hostile() -> Self {
        Self {
            seconds: 3600,
            activations: 6.0,
            holders: 1.0,
            garbage: 0.5,
            refusals: 0.1,
            crashes: 0.01,
            restarts: 900,
            hostile: 0.3,
            noise: 4.0,
            cut: true,
            ..Self::busy()
        }
    }

    /// Returns what the server's clock is ahead of the time since the log's begin, as Unix seconds.
    pub(super) fn clock_start(&self, micros: u64) -> i64 {
        let steps = (micros / SECOND).checked_div(self.steps).unwrap_or_default();
        self.start + if steps % 2 == 1 { 3_600 } else { 0 }
    }

    /// Writes the log.
    pub fn simulate(&self, seed: u64) -> Simulated {
        Simulation::new(self.clone(), seed).run()
    }
}
