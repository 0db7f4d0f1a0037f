//! A request's lines: from its first to its answer, and which of several that are written at once a line belongs to.

use super::connections::OpenConnection;
use super::event::{Anomaly, Attribution, KmsEvent, KmsRequest, RequestOutcome};
use super::line::Label;
use super::log::{Gap, Log, push_anomaly};
use super::peer::Peer;
use super::request_block::{ANSWER, LinePlaces, RequestBlock};

/// Seconds in which a server writes a whole request, seen through whole-second stamps.
const WRITING_SECONDS: i64 = 2;
/// Most requests being written at a time.
const MOST_BLOCKS: usize = 64;

impl Log {
    pub(super) fn begin_request(&mut self, at: i64, inside: bool, events: &mut Vec<KmsEvent>) {
        if !inside {
            self.abandon_requests(at, events);
        }
        let block = RequestBlock {
            limit: self.open.newest(),
            started: at,
            started_time: self.time.of_stamp(at),
            touched: at,
            turn: self.tally.lines,
            child: self.wrapper.line_child,
            doubtful: inside,
            ..RequestBlock::default()
        };
        let chosen = self.choose_connection(&block);
        if chosen.is_none() {
            push_anomaly(at, None, Anomaly::Orphan, events);
        }
        if inside {
            push_anomaly(at, None, Anomaly::InsideRequest, events);
        }
        if self.blocks.len() >= MOST_BLOCKS {
            self.drop_block(0);
        }
        self.blocks.push(block);
        // A doubtful request must not make a connection busy.
        if !inside {
            self.assign_request(self.blocks.len() - 1, chosen);
        }
    }

    pub(super) fn note_short(
        &mut self,
        at: i64,
        [version, workstation, product]: [&[u8]; 3],
        inside: bool,
        events: &mut Vec<KmsEvent>,
    ) {
        self.begin_request(at, inside, events);
        if let Some(block) = self.blocks.last_mut() {
            block.take_detail(Label::Protocol, version);
            block.take_detail(Label::Workstation, workstation);
            block.take_product_name(product);
            block.expects = ANSWER;
        }
        if !inside {
            self.gap = Some(Gap {
                block: self.blocks.len() - 1,
                connection: self.blocks.last().and_then(|block| block.connection),
                at,
                lines: 0,
                jumped: None,
            });
        }
    }

    pub(super) fn note_field(
        &mut self,
        at: i64,
        label: Label,
        value: &[u8],
        inside: bool,
        events: &mut Vec<KmsEvent>,
    ) {
        let line = LinePlaces::of_line(label, value);
        // An answer whose first line is missing: no server prints its own ID without answering.
        if matches!(label, Label::HostPid | Label::Protocol) && !inside {
            let waiting = |block: &RequestBlock| block.awaits_answer() && block.is_live(at);
            let fits = |block: &RequestBlock| block.line_distance(&line).is_some();
            if self.blocks.iter().any(waiting) && !self.blocks.iter().any(fits) {
                if label == Label::Protocol {
                    return;
                }
                self.finish_request(at, RequestOutcome::Answered, false, events);
            }
        }
        let Some(index) = self.expecting_request(at, |block| block.line_distance(&line), inside)
        else {
            const OPENING: [Label; 6] = [
                Label::Virtual,
                Label::Status,
                Label::Remaining,
                Label::Application,
                Label::Product,
                Label::Workstation,
            ];
            let writing = self.blocks.iter().any(|block| !block.reported);
            if inside || writing || self.open.is_empty() || !OPENING.contains(&label) {
                push_anomaly(at, None, Anomaly::Stray, events);
                return;
            }
            // A request whose first line is missing.
            self.begin_request(at, false, events);
            if let Some(block) = self.blocks.last_mut() {
                block.take_detail(label, value);
            }
            return;
        };
        let turn = self.tally.lines;
        let Some(block) = self.blocks.get_mut(index) else {
            return;
        };
        block.take_detail(label, value);
        // A forged line's stamp is its author's choice.
        if !inside {
            block.touched = at;
            block.turn = turn;
        }
        let (over, reported, connection) = (block.is_over(), block.reported, block.connection);
        if over {
            self.drop_block(index);
        } else if reported {
        } else if label == Label::Machine {
            self.reconsider_request(index);
        } else if label == Label::Workstation {
            self.gap = Some(Gap { block: index, connection, at, lines: 0, jumped: None });
        } else if label == Label::Policy && self.gap.is_some_and(|gap| gap.block == index) {
            self.gap = None;
        }
    }

    /// Finds the request that a line belongs to: one that is being written before one that stopped, then the best fit,
    /// undoubted before doubtful, an answer before a request, and of equals the one written last: where two stand at the
    /// same line, one was overtaken because its child was not given the processor.
    fn expecting_request(
        &mut self,
        at: i64,
        distance: impl Fn(&RequestBlock) -> Option<u8>,
        exact: bool,
    ) -> Option<usize> {
        let child = self.wrapper.line_child;
        let own = self.blocks.iter().enumerate().filter(|(_, block)| block.child == child);
        let fits = own.filter_map(|(index, block)| {
            let distance = distance(block).filter(|distance| !exact || *distance == 0)?;
            let fit = (!block.is_live(at), distance > 0, block.doubtful, distance);
            Some((fit, !block.reported, std::cmp::Reverse(block.turn), index))
        });
        let fits: Vec<_> = fits.collect();
        let (best, writing, _, index) = fits.iter().min().copied()?;
        let rivals =
            fits.iter().filter(|(fit, other, ..)| !fit.0 && *other == writing && fit.3 <= best.3);
        if !best.0 && rivals.clone().count() > 1 {
            for (.., rival) in rivals {
                if let Some(block) = self.blocks.get_mut(*rival) {
                    block.mixed = true;
                }
            }
        }
        Some(index)
    }

    pub(super) fn finish_request(
        &mut self,
        at: i64,
        outcome: RequestOutcome,
        inside: bool,
        events: &mut Vec<KmsEvent>,
    ) {
        let distance =
            |block: &RequestBlock| (!block.reported).then(|| ANSWER.saturating_sub(block.expects));
        let Some(index) = self.expecting_request(at, distance, inside) else {
            push_anomaly(at, None, Anomaly::Stray, events);
            return;
        };
        if self.gap.is_some_and(|gap| gap.block == index) {
            self.gap = None;
        }
        self.reconsider_request(index);
        let number = self.blocks.get(index).and_then(|block| block.connection);
        let address = number.and_then(|number| self.open.get(number));
        let address = address.map(|one| one.peer.address);
        let Some(block) = self.blocks.get_mut(index).map(RequestBlock::take_texts) else {
            return;
        };
        let (Some(number), Some(address)) = (number, address) else {
            push_anomaly(at, None, Anomaly::Orphan, events);
            self.drop_block(index);
            // No name has put this there: it is some client's, of whose connection the log does not know.
            if !inside && !block.doubtful && block.is_request() {
                let unsure = (Attribution::Ambiguous, false);
                events.push(report_request(block, at, None, unsure, outcome));
            }
            return;
        };
        let possible = self.possible_senders(&block, number, address);
        let Some(connection) = self.open.get_mut(number) else {
            return;
        };
        connection.active = at;
        connection.active_time = self.time.of_stamp(at);
        connection.busy = false;
        let peer = connection.peer;
        self.open.note_request(number, &block);
        let sure = (possible.attribution, possible.address_sure);
        self.draw_conclusions(&block, number, possible);
        self.last = Some(number);
        if outcome == RequestOutcome::Answered
            && let Some(slot) = self.blocks.get_mut(index)
        {
            *slot = block.answer_part();
        } else {
            self.drop_block(index);
        }
        events.push(report_request(block, at, Some(peer), sure, outcome));
    }

    /// Looks again whose request this is, now that its machine ID is known or its connection may be gone.
    fn reconsider_request(&mut self, index: usize) {
        let Some(block) = self.blocks.get(index) else {
            return;
        };
        if let Some(number) = self.choose_connection(block)
            && block.connection != Some(number)
        {
            self.assign_request(index, Some(number));
        }
    }

    fn assign_request(&mut self, index: usize, number: Option<u64>) {
        let Some(block) = self.blocks.get_mut(index) else {
            return;
        };
        let before = std::mem::replace(&mut block.connection, number);
        if let Some(connection) = before.and_then(|number| self.open.get_mut(number)) {
            connection.busy = false;
        }
        if let Some(connection) = number.and_then(|number| self.open.get_mut(number)) {
            connection.busy = true;
        }
    }

    /// Settles the requests that are being written for a connection that is gone; returns whether there was one.
    pub(super) fn release_requests(
        &mut self,
        at: i64,
        number: u64,
        gone: &OpenConnection,
        events: &mut Vec<KmsEvent>,
    ) -> bool {
        let own = |block: &RequestBlock| block.connection == Some(number);
        if !self.blocks.iter().any(own) {
            return false;
        }
        let mut requested = false;
        for index in 0..self.blocks.len() {
            let Some(block) = self.blocks.get(index).filter(|block| own(block)) else {
                continue;
            };
            if block.reported {
                continue;
            }
            // A server answers before it closes: while it still writes, the request must be another's.
            let writing = block.is_live(at) && !block.doubtful;
            if writing && let Some(other) = self.choose_other_connection(block) {
                self.assign_request(index, Some(other));
                continue;
            }
            requested = true;
            let possible = self.possible_senders(block, number, gone.peer.address);
            if block.is_request() {
                events.push(report_request(
                    block.clone(),
                    at,
                    Some(gone.peer),
                    (possible.attribution, possible.address_sure),
                    RequestOutcome::Unanswered,
                ));
            }
            if let Some(block) = self.blocks.get_mut(index) {
                block.connection = None;
                block.reported = true;
                block.expects = u8::MAX;
            }
        }
        for index in (0..self.blocks.len()).rev() {
            let over = |block: &RequestBlock| block.is_over() || block.reported && own(block);
            if self.blocks.get(index).is_some_and(over) {
                self.drop_block(index);
            }
        }
        requested
    }

    /// Gives up requests that stopped in the middle: their child hangs or is dead.
    fn abandon_requests(&mut self, at: i64, events: &mut Vec<KmsEvent>) {
        for index in (0..self.blocks.len()).rev() {
            let stopped = |block: &RequestBlock| {
                !block.reported && (at - block.touched).abs() > WRITING_SECONDS
            };
            if self.blocks.get(index).is_some_and(stopped) {
                self.cut_short(at, index, events);
            }
        }
    }

    /// Ends a request that will not be answered.
    pub(super) fn cut_short(&mut self, at: i64, index: usize, events: &mut Vec<KmsEvent>) {
        let Some(block) = self.blocks.get(index).cloned() else {
            return;
        };
        self.drop_block(index);
        let Some(number) = block.connection else {
            return;
        };
        let Some(address) = self.open.get(number).map(|one| one.peer.address) else {
            return;
        };
        let possible = self.possible_senders(&block, number, address);
        self.open.note_request(number, &block);
        if let Some(connection) = self.open.get(number)
            && block.is_request()
        {
            let sure = (possible.attribution, possible.address_sure);
            let peer = connection.peer;
            events.push(report_request(block, at, Some(peer), sure, RequestOutcome::Unanswered));
        }
    }

    pub(super) fn drop_block(&mut self, index: usize) {
        if index >= self.blocks.len() {
            return;
        }
        let block = self.blocks.remove(index);
        if !block.reported
            && let Some(connection) = block.connection.and_then(|number| self.open.get_mut(number))
        {
            connection.busy = false;
        }
        if let Some(gap) = &mut self.gap {
            match gap.block.cmp(&index) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => gap.block = usize::MAX,
                std::cmp::Ordering::Greater => gap.block = gap.block.saturating_sub(1),
            }
        }
    }
}

fn report_request(
    block: RequestBlock,
    at: i64,
    peer: Option<Peer>,
    (attribution, address_sure): (Attribution, bool),
    outcome: RequestOutcome,
) -> KmsEvent {
    KmsEvent::Request(Box::new(KmsRequest {
        at,
        peer,
        attribution,
        address_sure,
        outcome,
        protocol: block.protocol,
        status: block.status,
        application: block.application,
        product_id: block.product_id,
        product: block.product,
        machine: block.machine,
        workstation: block.workstation,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::line::LogLines;
    use super::*;
    use crate::domain::kms_log::Guid;
    use crate::domain::kms_log::kms_log::Profile;

    /// Finds the request that a line belongs to by asking each, and each again for its rivals.
    fn expect_plainly(
        blocks: &mut [RequestBlock],
        at: i64,
        line: &LinePlaces,
        exact: bool,
    ) -> Option<usize> {
        let fit = |block: &RequestBlock| {
            let distance = block.line_distance(line)?;
            let fit = (!block.is_live(at), distance > 0, block.doubtful, distance);
            (!exact || distance == 0).then_some(fit)
        };
        let order = |index: &usize| {
            let block = &blocks[*index];
            (fit(block), !block.reported, std::cmp::Reverse(block.turn))
        };
        let fitting = (0..blocks.len()).filter(|index| fit(&blocks[*index]).is_some());
        let chosen = fitting.min_by_key(order)?;
        let (best, reported) = (fit(&blocks[chosen])?, blocks[chosen].reported);
        let rival = |block: &RequestBlock| {
            let near = block.line_distance(line).is_some_and(|far| far <= best.3);
            near && block.reported == reported && block.is_live(at)
        };
        if !best.0 && blocks.iter().filter(|block| rival(block)).count() > 1 {
            let rivals = blocks.iter_mut().filter(|block| rival(block));
            rivals.for_each(|block| block.mixed = true);
        }
        Some(chosen)
    }

    #[test]
    fn one_look_finds_request_and_rivals() {
        let profiles = [Profile::busy(), Profile::flood(), Profile::hostile()];
        let mut mixed = 0;
        for (seed, base) in (3..).zip(profiles) {
            let profile = Profile { seconds: 300, ..base };
            let (mut log, mut events) = (Log::default(), Vec::new());
            LogLines::default().feed_chunk(&profile.simulate(seed).bytes(), |line| {
                log.read_line(line, &mut events);
                let machine = log.blocks.first().and_then(|block| block.machine);
                let machine = machine.as_ref().map(Guid::to_string).unwrap_or_default();
                let labels = [Label::Protocol, Label::Product, Label::Machine, Label::Clients];
                for (label, exact) in labels.into_iter().zip([false, true].into_iter().cycle()) {
                    let (before, at) = (log.blocks.clone(), log.tally.last_line);
                    let line = LinePlaces::of_line(label, machine.as_bytes());
                    // A twin of the newest, so that there are rivals.
                    log.blocks.extend(before.last().cloned());
                    log.blocks.iter_mut().for_each(|block| block.mixed = false);
                    let mut plain = log.blocks.clone();
                    let chosen = expect_plainly(&mut plain, at, &line, exact);
                    let found =
                        log.expecting_request(at, |block| block.line_distance(&line), exact);
                    let after = std::mem::replace(&mut log.blocks, before);
                    mixed += after.iter().filter(|block| block.mixed).count();
                    assert_eq!((found, after), (chosen, plain), "seed {seed}, {label:?}");
                }
            });
        }
        assert!(mixed > 10, "{mixed}");
    }
}
