//! One run of the agent's campaign: begins the change, lets it go wrong, lets minutes pass, and looks at what is there.

use std::io::Write as _;

use kmsctl::domain::pfsense::change::{ChangeEnding, ChangeOutcome, Kept, OutcomeAnswer};
use kmsctl::pfsense::agent;
use kmsctl::pfsense::agent::{AgentRequest, KeepRequest, OutcomeRequest};

use super::super::agent::changing::ChangingBox;
use super::super::agent::{nonce, request};
use super::{End, Fault, Next, Plan, Start};
use crate::support::campaign::{Kind, Ran, Wrong};

type Judged = Result<(), Wrong>;

fn wrong(kind: Kind, what: impl Into<String>) -> Judged {
    Err(Wrong(kind, what.into()))
}

pub struct Run<'a> {
    start: &'a Start,
    plan: &'a Plan,
    firewall: ChangingBox,
    /// The moments at which another writer was let in.
    writers: Vec<u64>,
    ending: String,
}

impl<'a> Run<'a> {
    pub fn new(start: &'a Start, plan: &'a Plan) -> Self {
        Self {
            start,
            plan,
            firewall: ChangingBox::copy_of(&start.firewall),
            writers: Vec::new(),
            ending: String::new(),
        }
    }

    pub fn carry_out(mut self) -> Ran {
        let mut judged = self.disturbed();
        if let Err(Wrong(Kind::Lost, _)) = &judged
            && self.in_the_gap()
        {
            "lost in pfSense's own gap".clone_into(&mut self.ending);
            judged = Ok(());
        }
        let mut counts = vec![
            format!("ended: {}", self.ending),
            format!("change: {}", self.start.name),
            format!("fault: {:?}", self.plan.fault),
        ];
        let mut troubles = vec![("trouble", self.plan.trouble)];
        if self.ending.starts_with("Done,") {
            let late = self.plan.late.map(|(fault, _)| fault);
            counts.push(format!("late fault: {late:?}, {:?}", self.plan.end));
            troubles.push(("late trouble", self.plan.late_trouble));
        }
        for (what, named) in troubles {
            if !named.is_empty() {
                counts.push(format!("{what}: {}", named.replace('\n', " + ")));
            }
        }
        Ran {
            counts,
            wrong: judged.err().map(|Wrong(kind, what)| Wrong(kind, self.explain(&what))),
            plan: String::new(),
        }
    }

    fn disturbed(&mut self) -> Judged {
        self.firewall.trouble(&format!("{}\n", self.plan.trouble));
        self.arm(self.plan.fault, self.plan.moment);
        let first = self.first_try();
        if let Some(outcome) = &first {
            self.judge_told(outcome)?;
        }
        let mut told = first;
        if let Some(second) = self.plan.second {
            self.arm(Fault::Kill, self.plan.moment + second);
        }
        match self.plan.next {
            Next::Ask => {
                let _ = self.firewall.outcome(&self.asking());
            }
            Next::Again => {
                let again = self.apply();
                if let Some(outcome) = &again {
                    self.judge_told(outcome)?;
                }
                told = again.or(told);
            }
            Next::Minute => {
                self.firewall.tick();
            }
            Next::Restart => self.restart(),
        }
        self.minutes();
        let answer = self.final_answer()?;
        self.ending = match &answer {
            OutcomeAnswer::Ended { outcome } => format!("{:?}", outcome.result),
            OutcomeAnswer::Running { .. } => "Running".to_owned(),
            OutcomeAnswer::Unknown => "Unknown".to_owned(),
        };
        self.judge(&answer, told.as_ref())?;
        if self.start.request.revert_at.is_some() && self.ending == "Done" {
            return self.end();
        }
        Ok(())
    }

    fn apply(&self) -> Option<ChangeOutcome> {
        let apply = AgentRequest::Apply(Box::new(self.start.request.clone()));
        self.firewall.apply(&apply).ok()
    }

    /// The change, while what can stand in its way from the beginning does.
    fn first_try(&self) -> Option<ChangeOutcome> {
        match self.plan.fault {
            Fault::Locked => {
                let held =
                    r#"{"id":"other","who":"anna@desk","what":"caps","since":1795350000,"pid":1}"#;
                self.firewall.php().write("conf/kmsctl/lock", held.as_bytes());
                let path = self.firewall.file("conf/kmsctl/lock");
                let lock = std::fs::File::open(path).expect("the lock");
                lock.lock().expect("it is free");
                self.apply()
            }
            Fault::Pending => {
                self.firewall.php().write("run/natconf.dirty", b"");
                self.apply()
            }
            _ => self.apply(),
        }
    }

    /// Lets something happen at a moment, counted from the beginning of the run.
    fn arm(&mut self, fault: Fault, moment: u64) {
        let word = match fault {
            Fault::Kill => "kill",
            Fault::Die => "die",
            Fault::Writer => "writer",
            Fault::Full => "full",
            Fault::Locked | Fault::Pending | Fault::None => "nothing",
        };
        if matches!(fault, Fault::Writer) {
            self.writers.push(moment);
        }
        let at = format!("{moment} {word}");
        self.firewall.php().write("at", at.as_bytes());
    }

    /// Space comes back before each minute: the fault itself may come in any of them.
    fn minutes(&self) {
        for _ in 0..4 {
            self.firewall.trouble("");
            self.firewall.tick();
        }
    }

    /// A restart loads what the configuration says; nothing may happen while pfSense itself starts.
    fn restart(&self) {
        self.firewall.trouble("");
        self.undisturbed(|| self.firewall.boot());
    }

    /// The last question is not part of the campaign: nothing happens while it is asked.
    fn undisturbed<T>(&self, question: impl FnOnce() -> T) -> T {
        let at = self.firewall.text("at");
        let _ = std::fs::remove_file(self.firewall.file("at"));
        let answer = question();
        self.firewall.php().write("at", at.as_bytes());
        answer
    }

    fn asking(&self) -> AgentRequest {
        AgentRequest::Outcome(OutcomeRequest {
            service: request(),
            id: self.start.request.id.clone(),
            settle: true,
        })
    }

    fn final_answer(&self) -> Result<OutcomeAnswer, Wrong> {
        let run = self.undisturbed(|| self.firewall.ask(&self.asking()));
        agent::read_reply(&run.stdout, &nonce())
            .map_err(|error| Wrong(Kind::Verdict, format!("no answer: {error}\n{}", run.stderr)))
    }

    /// What the agent says must be true in the moment in which it says it.
    fn judge_told(&self, outcome: &ChangeOutcome) -> Judged {
        let is = self.firewall.exposure();
        let (old, new) = (is == self.start.before, is == self.start.after);
        let fits = match outcome.result {
            ChangeEnding::Done => new,
            ChangeEnding::Unproven => true,
            ChangeEnding::NothingToDo => false,
            _ => old,
        };
        let expected = match self.plan.fault {
            Fault::Locked if matches!(self.plan.next, Next::Again) => None,
            Fault::Locked => Some(ChangeEnding::Locked),
            Fault::Pending => Some(ChangeEnding::Pending),
            Fault::None if self.plan.trouble.is_empty() => Some(ChangeEnding::Done),
            _ => None,
        };
        let said = format!("{:?}: {}", outcome.result, outcome.message);
        if !fits {
            return wrong(Kind::Verdict, format!("not true when it was said: {said}"));
        }
        if expected.is_some_and(|expected| expected != outcome.result) {
            return wrong(Kind::Verdict, format!("{expected:?} was due, not {said}"));
        }
        if outcome.result == ChangeEnding::Locked && outcome.holder.is_none() {
            return wrong(Kind::Verdict, "the holder is not named");
        }
        Ok(())
    }

    fn judge(&self, answer: &OutcomeAnswer, told: Option<&ChangeOutcome>) -> Judged {
        let is = self.firewall.exposure();
        let (old, new) = (is == self.start.before, is == self.start.after);
        if !old && !new {
            return wrong(Kind::Mixed, format!("neither old nor new: {is:#?}"));
        }
        let ended = match answer {
            OutcomeAnswer::Ended { outcome } => Some(outcome.as_ref()),
            OutcomeAnswer::Running { .. } => return wrong(Kind::LeftOver, "it does not end"),
            OutcomeAnswer::Unknown => None,
        };
        let says_new = match ended.map(|outcome| outcome.result) {
            Some(ChangeEnding::Done) => true,
            Some(ChangeEnding::Failed | ChangeEnding::RolledBack) | None => false,
            Some(other) => return wrong(Kind::Verdict, format!("it ended as {other:?}")),
        };
        if says_new != new {
            let what = format!("the outcome is not the truth: new {new}, said {says_new}");
            return wrong(Kind::Verdict, what);
        }
        if told.is_some_and(|outcome| outcome.result == ChangeEnding::Done) && !new {
            return wrong(Kind::Verdict, "it was told as done, and is not");
        }
        let armed = self.start.request.revert_at.is_some() && new;
        if !armed {
            self.nothing_left()?;
        }
        self.judge_foreign(ended.or(told))
    }

    fn nothing_left(&self) -> Judged {
        let left = self.firewall.left_over();
        if left.is_empty() { Ok(()) } else { wrong(Kind::LeftOver, format!("{left:?}")) }
    }

    fn judge_foreign(&self, outcome: Option<&ChangeOutcome>) -> Judged {
        let foreign = self.firewall.foreign();
        let before = &self.start.foreign;
        let renamed = before.replace("<hostname>firewall<", "<hostname>renamed<");
        let written = self.firewall.file("written-by-another").exists();
        if foreign == if written { renamed } else { before.clone() } {
            return Ok(());
        }
        if !written || foreign != *before {
            return wrong(Kind::Outside, "something else was touched");
        }
        let lost = outcome.and_then(|outcome| outcome.lost_update.as_ref());
        let kept = lost.and_then(|path| std::fs::read_to_string(path).ok());
        if kept.is_some_and(|text| text.contains("<hostname>renamed<")) {
            Ok(())
        } else {
            wrong(Kind::Lost, "another writer's change is lost")
        }
    }

    /// Between pfSense's backup and pfSense's lock nobody outside pfSense can notice another writer; it is counted.
    fn in_the_gap(&self) -> bool {
        let log = self.firewall.text("moments.log");
        self.writers
            .iter()
            .any(|moment| log.contains(&format!("{moment} write_config: backed up\n")))
    }

    /// The temporary change is kept or falls due, and something happens meanwhile.
    fn end(&mut self) -> Judged {
        self.ending.push_str(", temporary");
        let moments: u64 = self.firewall.text("moments").trim().parse().unwrap_or(0);
        match self.plan.late {
            Some((fault, after)) => self.arm(fault, moments + after),
            None => self.arm(Fault::None, 0),
        }
        if self.plan.end == End::DueWhileOff {
            self.firewall.make_due(&self.start.request.id);
            self.restart();
        }
        let trouble = format!("{}\n", self.plan.late_trouble);
        self.firewall.trouble(&trouble);
        if self.plan.end == End::Keep {
            return self.keep();
        }
        self.firewall.make_due(&self.start.request.id);
        self.firewall.tick();
        if matches!(self.plan.next, Next::Restart) {
            self.restart();
        }
        self.taken_back()
    }

    fn keep(&mut self) -> Judged {
        let keep = AgentRequest::Keep(KeepRequest {
            service: request(),
            id: self.start.request.id.clone(),
            until: None,
        });
        let kept = self.firewall.keep(&keep).ok();
        let is = self.firewall.exposure();
        if is != self.start.after {
            return wrong(Kind::Mixed, format!("keeping changes nothing: {is:#?}"));
        }
        let name = format!("conf/kmsctl/change-{}.json", self.start.request.id);
        let armed = !self.firewall.text(&name).contains("\"revert_at\":null");
        match kept {
            Some(Kept::Kept { .. }) if armed => {
                return wrong(Kind::Verdict, "it is told as kept, and is armed");
            }
            Some(Kept::Kept { .. }) | None => {}
            Some(other) => return wrong(Kind::Verdict, format!("{other:?}")),
        }
        if armed {
            self.firewall.make_due(&self.start.request.id);
            self.firewall.tick();
            return self.taken_back();
        }
        self.ending.push_str(" and kept");
        self.minutes();
        if self.firewall.exposure() != self.start.after {
            return wrong(Kind::Verdict, "it was kept, and is taken back");
        }
        // Asking clears up what a crash has left.
        self.final_answer()?;
        self.nothing_left()
    }

    fn taken_back(&mut self) -> Judged {
        self.ending.push_str(" and taken back");
        self.minutes();
        let is = self.firewall.exposure();
        if is == self.start.after {
            return wrong(Kind::LeftOver, "it was not taken back");
        }
        if is != self.start.before {
            return wrong(Kind::Mixed, format!("it was not taken back: {is:#?}"));
        }
        self.nothing_left()?;
        let OutcomeAnswer::Ended { outcome } = self.final_answer()? else {
            return wrong(Kind::Verdict, "its outcome is forgotten");
        };
        let reverted = outcome.reverted.as_ref().map(|reverted| reverted.result);
        if reverted != Some(ChangeEnding::Done) {
            let what = format!("the rollback says {:?}", outcome.reverted);
            return wrong(Kind::Verdict, what);
        }
        self.judge_foreign(Some(&outcome))
    }

    /// What to look at when a run went wrong.
    fn explain(&self, what: &str) -> String {
        let mut said = Vec::new();
        let name = format!("conf/kmsctl/change-{}.json", self.start.request.id);
        let stored: serde_json::Value =
            serde_json::from_str(&self.firewall.text(&name)).unwrap_or_default();
        let outcome = &stored["outcome"];
        writeln!(
            said,
            "phase {}, attempts {}, {}: {}\n{}\nreverted {}",
            stored["phase"],
            stored["attempts"],
            outcome["result"],
            outcome["message"],
            outcome["steps"],
            outcome["reverted"],
        )
        .expect("text");
        let moments = self.firewall.text("moments.log");
        let last: Vec<&str> = moments.lines().rev().take(120).collect();
        format!("{what}\n{}{}\n", String::from_utf8_lossy(&said), last.join("; "))
    }
}
