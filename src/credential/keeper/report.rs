//! What comes of an exchange that has ended, and what everybody is shown of it.

use std::time::Duration;

use crate::clock::Moment;
use crate::credential::keeper::Outcome;
use crate::credential::keeper::SetError;
use crate::credential::keeper::entry::{Cause, Next, Phase, Stop, Trouble};
use crate::credential::keeper::exchange::{Done, Early, Failure, Obtained, Report};
use crate::credential::keeper::in_play::Generation;
use crate::credential::keeper::task::Task;
use crate::credential::shared::Published;
use crate::credential::{ErrorClass, Minted, Owner, State, schedule};

impl Task {
    /// Takes the report of the exchange of an entry; there is none if it panicked or was broken off.
    pub(super) fn take(&mut self, owner: &Owner, report: Option<Report>, now: Moment) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
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
        if report.counts {
            entry.pace.note_exchange(report.started, entry.spec.times.max_renewals);
        }
        if let Some(values) = report.beside {
            self.note_beside(owner, values);
        }
        if let Some(at) = report.renew_by {
            self.look_by(at, now);
        }
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let unsaved = report.unsaved.map(|(record, error)| {
            entry.unsaved = Some(record);
            format!("the store cannot be written, and a restart would lose what is new: {}", error.0)
        });
        let result = report.result.and_then(|done| match done {
            Done::Obtained(obtained) => {
                let how = if report.asked { "renewed" } else { "taken up" };
                self.publish(owner, *obtained, report.took, how)
            }
            Done::Published => Ok(()),
            Done::Forgotten => {
                self.forget(owner);
                Ok(())
            }
        });
        let ordered = self.entries.get_mut(owner).and_then(|entry| entry.ordered.take());
        let taken_up = !report.asked && ordered.is_none() && result.is_ok();
        let outcome = match (result, ordered) {
            (Err(failure), Some(answer)) => {
                // The old token stays, and so does the plan for it.
                let _ = answer.send(Err(SetError::Unusable(failure.to_string())));
                Outcome::Transient
            }
            (Ok(()), ordered) => {
                if let Some(answer) = ordered {
                    let _ = answer.send(Ok(()));
                }
                Outcome::Ok
            }
            (Err(failure), None) if self.recalled_nothing(owner, &failure) => return,
            (Err(Failure::Unchanged), None) => {
                self.stay(owner);
                return;
            }
            (Err(failure), None) => {
                // With other inputs, a look became a renewal.
                let phase = if same_inputs { phase } else { Phase::Renewing };
                self.fail(owner, phase, &failure, now)
            }
        };
        if let Some(message) = unsaved {
            self.retry_saving(owner, message, now);
        }
        if report.asked {
            (self.options.observe)(&owner.credential, outcome, report.took);
        }
        self.lapse_averted(owner, outcome);
        let Some(entry) = self.entries.get_mut(owner) else { return };
        entry.shared.clear_suspicion();
        if taken_up && (report.unsettled || !entry.waiters.is_empty()) {
            // What an operator asks for is a new token. And that a refresh token may be used up is told now, while
            // the old token lasts, or tried now, while the issuer's grace lasts.
            entry.next = Next::Now;
        } else if entry.awaited.is_empty() {
            for waiter in entry.waiters.take() {
                let _ = waiter.send(outcome);
            }
        }
        self.follow_parents(owner, now);
        if outcome == Outcome::Ok {
            self.tell_children(owner, now);
        } else {
            self.excuse_parts(owner);
            if self.entries.get(owner).is_some_and(|entry| entry.stop.is_some()) {
                self.disappoint_children(owner);
            }
        }
    }

    /// Whether this was but a look into the store, and the issuer is to be asked now: because nothing
    /// was found there, or because an operator asks for it.
    fn recalled_nothing(&mut self, owner: &Owner, failure: &Failure) -> bool {
        let Some(entry) = self.entries.get_mut(owner).filter(|entry| entry.recalls) else { return false };
        let goes_on = match failure {
            Failure::NothingRecalled => true,
            Failure::Local(_) => false,
            _ => !entry.waiters.is_empty(),
        };
        if goes_on {
            entry.recalls = false;
            entry.next = Next::Now;
        }
        goes_on
    }

    /// Gives a generation to its readers before it is saved.
    pub(super) fn publish_early(&mut self, early: Early) {
        let Early { owner, id, obtained, took, answer } = early;
        if self.entries.get(&owner).is_none_or(|entry| entry.id != id) {
            return;
        }
        let published = self.publish(&owner, obtained, took, "renewed");
        let is_published = published.is_ok();
        // It waits for nothing else.
        let _ = answer.send(published);
        if is_published {
            if let Some(entry) = self.entries.get(&owner) {
                entry.shared.clear_suspicion();
            }
            self.tell_children(&owner, self.clock.now());
            self.show(&owner);
        }
    }

    /// Gives a new generation to all readers, or to none; `how` it came is told in the log.
    fn publish(
        &mut self,
        owner: &Owner,
        obtained: Obtained,
        took: Duration,
        how: &'static str,
    ) -> Result<(), Failure> {
        let Obtained { generation, expiry, minted, inputs: mut values, rotate_at, asks_again, follows } =
            obtained;
        values.extend(minted.outputs.values().cloned());
        // Before anything can be made of the token, answers are scanned for it.
        let end = expiry.end.map(|end| end.after(expiry.grace));
        self.note_values(owner, Generation::new(end, values));
        let Some(entry) = self.entries.get_mut(owner) else { return Ok(()) };
        let Minted { outputs, warnings, .. } = minted;
        let published = entry.shared.publish(Published { generation, expiry, outputs, warnings });
        let published = published.map_err(|message| Failure::Transient {
            message: format!("the new token cannot be used: {message}"),
            retry_after: None,
        })?;
        let now = self.clock.now();
        let rotation = rotate_at.map(|at| now.until(at));
        // Before its value is replaced, another one is not to be had.
        let renewal = rotation.or_else(|| {
            if follows {
                // It has nothing newer before a part of it has; from its end on it waits for that.
                expiry.usable_until()
            } else {
                schedule::renewal(&entry.spec, &expiry, self.clock.fraction())
            }
        });
        tracing::info!(
            credential = %owner.in_log(),
            generation,
            expires_at = expiry.end.map(|end| tracing::field::display(end.wall)),
            renew_at = renewal.map(|renewal| tracing::field::display(renewal.wall)),
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "{how}"
        );
        let old_warnings = entry.current.as_ref().map(|current| current.warnings.as_slice());
        for warning in &published.warnings {
            if old_warnings.is_none_or(|old| !old.contains(warning)) {
                tracing::warn!(credential = %owner.in_log(), warning, "renewed with a warning");
            }
        }
        entry.next = match renewal {
            _ if asks_again => Next::Now,
            renewal => renewal.map_or(Next::Nothing, Next::Renewal),
        };
        entry.rotate_at = rotation.map(Box::new);
        entry.freshened &= entry.is_rotation_due(now);
        entry.doubted = false;
        entry.replaces_refused = std::mem::take(&mut entry.refused);
        entry.current = Some(published);
        entry.recalls = false;
        entry.stop = None;
        entry.trouble = None;
        entry.parents_renewed = false;
        entry.backoff.reset();
        entry.pace.note_renewal(expiry.obtained.boot);
        Ok(())
    }

    /// There is no token any more, as a person ordered.
    fn forget(&mut self, owner: &Owner) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        tracing::info!(credential = %owner.in_log(), "logged out");
        entry.shared.withdraw();
        entry.current = None;
        entry.recalls = false;
        entry.next = Next::Nothing;
        entry.trouble = None;
        entry.stop = Some(Box::new(Stop::new(State::Revoked, entry.inputs)));
    }

    /// The inputs are as they were, and what had to be saved is saved.
    fn stay(&mut self, owner: &Owner) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        if entry.trouble.take_if(|trouble| trouble.cause == Cause::Local).is_some() {
            entry.backoff.reset();
        }
    }

    fn retry_saving(&mut self, owner: &Owner, message: String, now: Moment) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let pause = entry.backoff.next(&self.clock);
        tracing::warn!(credential = %owner.in_log(), reason = message, retry_in = %format_args!("{pause:.1?}"), "not saved");
        if entry.trouble.is_none() {
            entry.trouble = Some(Box::new(Trouble::new(Cause::Local, ErrorClass::Transient, message, now)));
        }
        entry.look = Some(now.boot + pause);
    }

    /// Plans what follows a failure, and says how it counts.
    fn fail(&mut self, owner: &Owner, phase: Phase, failure: &Failure, now: Moment) -> Outcome {
        let Some(entry) = self.entries.get_mut(owner) else { return Outcome::Transient };
        entry.recalls &= matches!(failure, Failure::Local(_));
        if matches!(failure, Failure::NobodyLoggedIn) {
            entry.next = Next::Nothing;
            entry.stop = Some(Box::new(Stop::new(State::LoginRequired, entry.inputs)));
            return Outcome::Rejected;
        }
        let message = failure.to_string();
        let (outcome, class, pause) = match failure {
            Failure::Rejected(_) | Failure::Withdrawn(_) | Failure::NobodyLoggedIn => {
                (Outcome::Rejected, ErrorClass::Rejected, None)
            }
            Failure::Ambiguous(_) => (Outcome::Ambiguous, ErrorClass::Ambiguous, None),
            Failure::Unread(_) => {
                (Outcome::Ambiguous, ErrorClass::Ambiguous, Some(entry.backoff.next(&self.clock)))
            }
            Failure::Stubborn(_) => {
                (Outcome::Transient, ErrorClass::Transient, Some(entry.backoff.next_longest(&self.clock)))
            }
            Failure::Transient { retry_after: asked, .. } => {
                let asked = asked.unwrap_or_default();
                let spread = asked.mul_f64(0.1 * self.clock.fraction());
                let pause = entry.backoff.next(&self.clock).max(asked + spread);
                (Outcome::Transient, ErrorClass::Transient, Some(pause))
            }
            Failure::Unchanged | Failure::NothingRecalled | Failure::Local(_) => {
                (Outcome::Transient, ErrorClass::Transient, Some(entry.backoff.next(&self.clock)))
            }
        };
        let local = matches!(failure, Failure::Local(_));
        if let Some(pause) = pause {
            tracing::warn!(credential = %owner.in_log(), reason = message, retry_in = %format_args!("{pause:.1?}"), "not renewed");
            let at = now.after(pause);
            match (phase, &entry.stop) {
                (Phase::Looking, _) if local => entry.look = Some(at.boot),
                (_, Some(_)) => entry.next = Next::Nothing,
                _ => entry.next = Next::Retry(at),
            }
        } else {
            tracing::error!(credential = %owner.in_log(), reason = message, class = class.as_str(), "not renewed");
            entry.next = Next::Nothing;
        }
        // What the issuer said last is worth more than a file that could not be looked at.
        let hides =
            local && (entry.stop.is_some() || phase == Phase::Looking && entry.is_in_trouble(Cause::Far));
        if !hides {
            let cause = if local { Cause::Local } else { Cause::Far };
            entry.trouble = Some(Box::new(Trouble::new(cause, class, message, now)));
        }
        let stop = match outcome {
            Outcome::Ok | Outcome::Transient => return outcome,
            Outcome::Ambiguous if matches!(failure, Failure::Unread(_)) => return outcome,
            Outcome::Rejected if matches!(failure, Failure::Withdrawn(_)) => State::LoginRequired,
            Outcome::Rejected if self.renew_parents(owner) => return outcome,
            Outcome::Rejected => State::Rejected,
            Outcome::Ambiguous => State::LoginRequired,
        };
        if let Some(entry) = self.entries.get_mut(owner) {
            entry.stop = Some(Box::new(Stop::new(stop, entry.inputs)));
        }
        outcome
    }

    /// Shows the state of an entry to everybody, if it has changed.
    pub(super) fn show(&mut self, owner: &Owner) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get(owner) else { return };
        let waits_for = entry.blocked_by.as_ref().or(entry.awaited.first());
        let parent = waits_for.and_then(|parent| self.parent(parent)).map(|it| it.shared.status());
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let before = entry.shared.status();
        if entry.state(now) == State::Expired && before.state != State::Expired && !entry.spec.is_renewable()
        {
            let message = format!(
                "the token has ended, and it cannot renew itself: replace it at its source, or by `bearerd set \
                 {}`",
                entry.spec.name
            );
            entry.trouble = Some(Box::new(Trouble::new(Cause::Far, ErrorClass::Rejected, message, now)));
        }
        let status = entry.status(now, parent.as_ref());
        if status.waits_for.is_some() && !status.running {
            // Nobody can say when the parent will have a token.
            for waiter in entry.waiters.take() {
                let _ = waiter.send(Outcome::Transient);
            }
        }
        if status == before {
            return;
        }
        if let Some((warning, _)) = entry.notice(now).filter(|(notice, _)| !before.warnings.contains(notice))
        {
            tracing::warn!(credential = %owner, warning, "a person is needed");
        }
        if status.state != before.state {
            let (from, to) = (before.state.as_str(), status.state.as_str());
            match status.state {
                // Told by the line of the exchange itself.
                State::Pending | State::Ready | State::Renewing | State::Failing => {
                    tracing::debug!(credential = %owner, from, to, "state");
                }
                _ => tracing::warn!(credential = %owner.in_log(), from, to, "state"),
            }
        }
        entry.shared.set_status(status);
        for child in self.children_of(owner) {
            let waits = |child: &Owner| {
                self.entries.get(child).is_some_and(|it| it.blocked_by.is_some() || !it.awaited.is_empty())
            };
            if waits(&child) {
                self.show(&child);
            }
        }
    }
}
