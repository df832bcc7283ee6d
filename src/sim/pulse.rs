//! What wakes those who wait? A beat, in the order in which they began to wait: tokio's `watch` wakes in any, and what
//! a seed gives must not depend on it.

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// Wakes whoever listens.
#[derive(Debug)]
pub(crate) struct Pulse(Sender<()>);

/// Listens for beats until the pulse is dropped.
#[derive(Debug)]
pub(crate) struct Ear(Receiver<()>);

impl Default for Pulse {
    fn default() -> Self {
        Self(channel(1).0)
    }
}

impl Pulse {
    pub(crate) fn beat(&self) {
        // It fails where nobody listens.
        let _ = self.0.send(());
    }

    pub(crate) fn ear(&self) -> Ear {
        Ear(self.0.subscribe())
    }
}

impl Clone for Ear {
    /// Hears what beats from now on.
    fn clone(&self) -> Self {
        Self(self.0.resubscribe())
    }
}

impl Ear {
    /// Forgets the beats until now.
    pub(crate) fn forget(&mut self) {
        while matches!(self.0.try_recv(), Ok(()) | Err(TryRecvError::Lagged(_))) {}
    }

    /// Waits for a beat that was not heard yet; `None` when there will be none any more.
    pub(crate) async fn beat(&mut self) -> Option<()> {
        match self.0.recv().await {
            Ok(()) | Err(RecvError::Lagged(_)) => Some(()),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn who_waited_first_is_woken_first_and_the_end_wakes_all() {
        let (pulse, woken) = (Pulse::default(), Arc::new(Mutex::new(Vec::new())));
        let wait = |n: usize| {
            let (mut ear, woken) = (pulse.ear(), Arc::clone(&woken));
            tokio::spawn(async move {
                while ear.beat().await.is_some() {
                    woken.lock().unwrap().push(n);
                }
            })
        };
        let waiting: Vec<_> = (0..40).map(wait).collect();
        tokio::task::yield_now().await;
        pulse.beat();
        tokio::task::yield_now().await;
        assert_eq!(*woken.lock().unwrap(), (0..40).collect::<Vec<_>>());
        drop(pulse);
        for task in waiting {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn beats_that_came_together_are_one_and_can_be_forgotten() {
        let pulse = Pulse::default();
        let mut ear = pulse.ear();
        pulse.beat();
        pulse.beat();
        ear.forget();
        let late = tokio::time::timeout(std::time::Duration::from_millis(1), ear.beat());
        assert!(late.await.is_err());
        pulse.beat();
        assert_eq!(ear.beat().await, Some(()));
    }
}
