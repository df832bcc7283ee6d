//! May a pod be made at all? Everything that may stand against it, in the words in which the API server refuses.

use serde_json::Value;

use super::quota;
use crate::sim::simulation::Simulation;

/// Why the API server refuses a pod; `None` if it does not.
pub(crate) fn refusal(sim: &Simulation, pod: &Value) -> Option<String> {
    quota::refusal(sim, pod)
}
