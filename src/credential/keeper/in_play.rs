//! The values in play of each owner: what the guard looks for in answers.

use std::sync::Arc;

use crate::clock::Moment;
use crate::credential::Owner;
use crate::credential::keeper::entry::Entry;
use crate::credential::keeper::task::Task;
use crate::secret::Secret;

/// Generations before the current one whose values are remembered: a static token that never ends may be
/// replaced ever so often.
const MOST_GENERATIONS: usize = 32;

/// The values of one generation.
pub(super) struct Generation {
    /// When they can be used no more; `None` if they do not end.
    pub(super) end: Option<Moment>,
    pub(super) values: Arc<[Secret]>,
}

impl Generation {
    /// These values, each once: an input may be an output, too.
    pub(super) fn new(end: Option<Moment>, values: Vec<Secret>) -> Self {
        let mut distinct: Vec<Secret> = Vec::with_capacity(values.len());
        for value in values {
            if !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        Self { end, values: distinct.into() }
    }
}

impl Task {
    /// Notes the values of a generation that is about to be published; those before it count as long as
    /// they may still be used.
    pub(super) fn note_values(&mut self, owner: &Owner, generation: Generation) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(owner) else { return };
        entry.in_play.retain(|before| before.end.is_none_or(|end| !end.left(now).is_zero()));
        let surplus = (entry.in_play.len() + 1).saturating_sub(MOST_GENERATIONS);
        entry.in_play.drain(..surplus);
        // Most have one or two, and there may be thousands.
        entry.in_play.reserve_exact(1);
        entry.in_play.push(generation);
        self.show_values(owner);
    }

    /// Notes the values of an owner's record beside the current one: the one before, which still works for its
    /// grace, and the one that is to follow, which nobody has verified yet.
    pub(super) fn note_beside(&mut self, owner: &Owner, values: Box<[Secret]>) {
        let Some(entry) = self.entries.get_mut(owner).filter(|entry| entry.beside != values) else { return };
        entry.beside = values;
        self.show_values(owner);
    }

    /// Shows an owner's values, and those of the owners that use its outputs, to whoever passes answers on.
    fn show_values(&self, owner: &Owner) {
        let Some(entry) = self.entries.get(owner) else { return };
        let mut values = Vec::new();
        self.gather_values(entry, &mut values);
        // Most have no other values than those of their one generation.
        let own = entry.in_play.first().filter(|generation| *generation.values == *values);
        let values = own.map_or_else(|| values.into(), |generation| Arc::clone(&generation.values));
        entry.shared.set_in_play(values);
        for child in self.children_of(owner) {
            self.show_values(&child);
        }
    }

    fn gather_values(&self, entry: &Entry, values: &mut Vec<Secret>) {
        let own = entry.in_play.iter().flat_map(|generation| &*generation.values);
        values.extend(own.chain(&entry.beside).cloned());
        for (parent, _) in entry.spec.parents() {
            if let Some(parent) = self.parent(parent) {
                self.gather_values(parent, values);
            }
        }
    }
}
