//! What has to be looked at next, and when? Work ordered by virtual time, each piece at most once.

use std::collections::BTreeMap;

use super::moment::Moment;

/// A queue of tasks. A task is a thing to look at, not a step to take: whoever handles it looks at the state and the
/// time and asks to be woken again. So one entry a task is enough, the earliest.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    by_time: BTreeMap<(Moment, u64), T>,
    due: BTreeMap<T, (Moment, u64)>,
    pushed: u64,
}

impl<T: Ord + Clone> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { by_time: BTreeMap::new(), due: BTreeMap::new(), pushed: 0 }
    }

    /// Asks for `task` to be looked at no later than `at`.
    pub(crate) fn push(&mut self, at: Moment, task: T) {
        if let Some(held) = self.due.get(&task).copied() {
            if held.0 <= at {
                return;
            }
            self.by_time.remove(&held);
        }
        self.pushed += 1;
        let place = (at, self.pushed);
        self.due.insert(task.clone(), place);
        self.by_time.insert(place, task);
    }

    /// When the next task is due.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.by_time.keys().next().map(|(at, _)| *at)
    }

    /// The next task due at or before `until`, with its time.
    pub(crate) fn pop(&mut self, until: Moment) -> Option<(Moment, T)> {
        let entry = self.by_time.first_entry()?;
        if entry.key().0 > until {
            return None;
        }
        let ((at, _), task) = entry.remove_entry();
        self.due.remove(&task);
        Some((at, task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_waits_once_at_its_earliest_time() {
        let mut queue = Queue::new();
        queue.push(5, "a");
        queue.push(9, "a");
        queue.push(7, "b");
        queue.push(3, "b");
        assert_eq!(queue.pop(10), Some((3, "b")));
        assert_eq!(queue.pop(10), Some((5, "a")));
        assert_eq!(queue.pop(10), None);
    }

    #[test]
    fn tasks_of_one_moment_keep_the_order_of_asking() {
        let mut queue = Queue::new();
        queue.push(1, "z");
        queue.push(1, "a");
        assert_eq!(queue.pop(0), None);
        assert_eq!(queue.pop(1), Some((1, "z")));
        assert_eq!(queue.pop(1), Some((1, "a")));
    }
}
