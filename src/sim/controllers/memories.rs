//! What do the controllers remember that they do not write into objects?

use super::autoscaler::Autoscalers;
use super::balancers::Balancers;
use super::control::Control;
use super::leases::Leases;
use super::quota::Refusals;
use super::reach::Reach;

/// One memory for each controller that has one.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    pub(crate) autoscalers: Autoscalers,
    pub(crate) balancers: Balancers,
    pub(crate) control: Control,
    pub(crate) leases: Leases,
    pub(crate) reach: Reach,
    pub(crate) refusals: Refusals,
}
