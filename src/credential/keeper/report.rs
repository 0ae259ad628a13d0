//! What comes of an exchange that has ended, and what everybody is shown of it.

use std::time::Duration;

use crate::clock::Moment;
use crate::credential::keeper::Outcome;
use crate::credential::keeper::SetError;
use crate::credential::keeper::entry::{Cause, Next, Phase, Stop, Trouble};
use crate::credential::keeper::exchange::{Failure, Obtained, Report};
use crate::credential::keeper::task::Task;
use crate::credential::shared::Published;
use crate::credential::{CredentialName, ErrorClass, Expiry, State, schedule};

impl Task {
    /// Takes the report of the exchange of an entry; there is none if it panicked or was broken off.
    pub(super) fn take(&mut self, name: &CredentialName, report: Option<Report>, now: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let phase = std::mem::replace(&mut entry.phase, Phase::Idle);
        if report.is_some() {
            entry.unsaved = None;
        }
        let report = report.unwrap_or_else(Report::lost);
        let same_inputs = report.inputs.is_none() || report.inputs == entry.inputs;
        if !same_inputs {
            entry.inputs = report.inputs;
            // Other inputs are another try: nothing of the old one holds.
            entry.stop = None;
        }
        if report.asked {
            entry.pace.note_exchange(report.started, entry.spec.max_renewals);
        }
        let unsaved = report.unsaved.map(|(record, error)| {
            entry.unsaved = Some(record);
            format!("the store cannot be written, and a restart would lose what is new: {}", error.0)
        });
        let result = report.result.and_then(|obtained| {
            self.publish(name, obtained, report.took).map_err(|message| Failure::Transient {
                message: format!("the new token cannot be used: {message}"),
                retry_after: None,
            })
        });
        let setting = self.entries.get_mut(name).and_then(|entry| entry.setting.take());
        let outcome = match (result, setting) {
            (Err(failure), Some(answer)) => {
                // The old token stays, and so does the plan for it.
                let _ = answer.send(Err(SetError::Unusable(failure.to_string())));
                Outcome::Transient
            }
            (Ok(()), setting) => {
                if let Some(answer) = setting {
                    let _ = answer.send(Ok(()));
                }
                Outcome::Ok
            }
            (Err(Failure::Unchanged), None) => {
                self.stay(name);
                return;
            }
            (Err(failure), None) => {
                // With other inputs, a look became a renewal.
                let phase = if same_inputs { phase } else { Phase::Renewing };
                self.fail(name, phase, &failure, now)
            }
        };
        if let Some(message) = unsaved {
            self.retry_saving(name, message, now);
        }
        if report.asked {
            (self.options.observe)(name, outcome, report.took);
        }
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.shared.clear_suspicion();
        if entry.awaited.is_empty() {
            for waiter in entry.waiters.drain(..) {
                let _ = waiter.send(outcome);
            }
        }
        self.follow_parents(name, now);
        if outcome == Outcome::Ok {
            self.tell_children(name, now);
        } else if self.entries.get(name).is_some_and(|entry| entry.stop.is_some()) {
            self.disappoint_children(name);
        }
    }

    /// Gives a new generation to all readers, or to none.
    fn publish(&mut self, name: &CredentialName, obtained: Obtained, took: Duration) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(name) else { return Ok(()) };
        let Obtained { mut minted, at } = obtained;
        let (lifetime, warning) = schedule::lifetime(&entry.spec, minted.lifetime, at);
        minted.warnings.extend(warning);
        let expiry = Expiry::new(at, lifetime);
        let generation = entry.generation() + 1;
        let published = entry.shared.publish(Published { generation, expiry, minted })?;
        let renewal = schedule::renewal(&entry.spec, &expiry, self.clock.fraction());
        tracing::info!(
            credential = %name,
            generation,
            expires_at = expiry.end.map(|end| tracing::field::display(end.wall)),
            renew_at = renewal.map(|renewal| tracing::field::display(renewal.wall)),
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "renewed"
        );
        let old_warnings = entry.current.as_ref().map(|current| current.minted.warnings.as_slice());
        for warning in &published.minted.warnings {
            if old_warnings.is_none_or(|old| !old.contains(warning)) {
                tracing::warn!(credential = %name, warning, "renewed with a warning");
            }
        }
        entry.next = renewal.map_or(Next::Nothing, Next::Renewal);
        entry.current = Some(published);
        entry.stop = None;
        entry.trouble = None;
        entry.parents_renewed = false;
        entry.backoff.reset();
        entry.pace.note_renewal(at.boot);
        Ok(())
    }

    /// The inputs are as they were, and what had to be saved is saved.
    fn stay(&mut self, name: &CredentialName) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.trouble.take_if(|trouble| trouble.cause == Cause::Local).is_some() {
            entry.backoff.reset();
        }
    }

    fn retry_saving(&mut self, name: &CredentialName, message: String, now: Moment) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let pause = entry.backoff.next(&self.clock);
        tracing::warn!(credential = %name, reason = message, retry_in = ?pause, "not saved");
        if entry.trouble.is_none() {
            entry.trouble = Some(Trouble::new(Cause::Local, ErrorClass::Transient, message, now));
        }
        entry.look = Some(now.boot + pause);
    }

    /// Plans what follows a failure, and says how it counts.
    fn fail(&mut self, name: &CredentialName, phase: Phase, failure: &Failure, now: Moment) -> Outcome {
        let Some(entry) = self.entries.get_mut(name) else { return Outcome::Transient };
        let message = failure.to_string();
        let (outcome, class, pause) = match failure {
            Failure::Rejected(_) => (Outcome::Rejected, ErrorClass::Rejected, None),
            Failure::Ambiguous(_) => (Outcome::Ambiguous, ErrorClass::Ambiguous, None),
            Failure::Stubborn(_) => {
                (Outcome::Transient, ErrorClass::Transient, Some(entry.backoff.next_longest(&self.clock)))
            }
            Failure::Transient { retry_after: asked, .. } => {
                let asked = asked.unwrap_or_default();
                let spread = asked.mul_f64(0.1 * self.clock.fraction());
                let pause = entry.backoff.next(&self.clock).max(asked + spread);
                (Outcome::Transient, ErrorClass::Transient, Some(pause))
            }
            Failure::Unchanged | Failure::Local(_) => {
                (Outcome::Transient, ErrorClass::Transient, Some(entry.backoff.next(&self.clock)))
            }
        };
        let local = matches!(failure, Failure::Local(_));
        if let Some(pause) = pause {
            tracing::warn!(credential = %name, reason = message, retry_in = ?pause, "not renewed");
            let at = now.after(pause);
            match (phase, &entry.stop) {
                (Phase::Looking, _) if local => entry.look = Some(at.boot),
                (_, Some(_)) => entry.next = Next::Nothing,
                _ => entry.next = Next::Retry(at),
            }
        } else {
            tracing::error!(credential = %name, reason = message, class = class.as_str(), "not renewed");
            entry.next = Next::Nothing;
        }
        // What the issuer said last is worth more than a file that could not be looked at.
        let hides =
            local && (entry.stop.is_some() || phase == Phase::Looking && entry.is_in_trouble(Cause::Far));
        if !hides {
            let cause = if local { Cause::Local } else { Cause::Far };
            entry.trouble = Some(Trouble::new(cause, class, message, now));
        }
        let stop = match outcome {
            Outcome::Ok | Outcome::Transient => return outcome,
            Outcome::Rejected if self.renew_parents(name) => return outcome,
            Outcome::Rejected => State::Rejected,
            Outcome::Ambiguous => State::LoginRequired,
        };
        if let Some(entry) = self.entries.get_mut(name) {
            entry.stop = Some(Stop { state: stop, inputs: entry.inputs });
        }
        outcome
    }

    /// Shows the state of an entry to everybody, if it has changed.
    pub(super) fn show(&mut self, name: &CredentialName) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get(name) else { return };
        let waits_for = entry.blocked_by.as_ref().or(entry.awaited.first());
        let parent = waits_for.and_then(|parent| self.entries.get(parent)).map(|it| it.shared.status());
        let Some(entry) = self.entries.get_mut(name) else { return };
        let before = entry.shared.status();
        if entry.state(now) == State::Expired && before.state != State::Expired && !entry.spec.is_renewable()
        {
            let message = format!(
                "the token has ended, and it cannot renew itself: replace it at its source, or by `bearerd set \
                 {name}`"
            );
            entry.trouble = Some(Trouble::new(Cause::Far, ErrorClass::Rejected, message, now));
        }
        let status = entry.status(now, parent.as_ref());
        if status.waits_for.is_some() && !status.running {
            // Nobody can say when the parent will have a token.
            for waiter in entry.waiters.drain(..) {
                let _ = waiter.send(Outcome::Transient);
            }
        }
        if status == before {
            return;
        }
        if status.state != before.state {
            let (from, to) = (before.state.as_str(), status.state.as_str());
            match status.state {
                // Told by the line of the exchange itself.
                State::Pending | State::Ready | State::Renewing | State::Failing => {
                    tracing::debug!(credential = %name, from, to, "state");
                }
                _ => tracing::warn!(credential = %name, from, to, "state"),
            }
        }
        entry.shared.set_status(status);
        for child in self.children.get(name).cloned().unwrap_or_default() {
            let waits = |child: &CredentialName| {
                self.entries.get(child).is_some_and(|it| it.blocked_by.is_some() || !it.awaited.is_empty())
            };
            if waits(&child) {
                self.show(&child);
            }
        }
    }
}
