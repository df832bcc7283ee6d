//! What is kept of what an endpoint says? The samples that signals read, of its last answer.

use super::meta::{Meta, Time};
use crate::model::kind::Kind;
use crate::model::record::Labelled;
use crate::model::text::Text;

/// The last answer of an endpoint. Its name is the instance's, its uid stands for the process that answered: numbers
/// of another process begin anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// Which endpoint.
    pub kind: Kind,
    /// Name and identity of the instance.
    pub meta: Meta,
    /// When it was asked.
    pub at: Time,
    /// What it said.
    pub samples: Box<[Sample]>,
}

/// One sample of an exposition, or of the answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name; that of the query for an answer to one.
    pub name: Text,
    /// Its labels.
    pub labels: Labelled,
    /// Its value.
    pub value: f64,
}

impl Scrape {
    /// The samples of a metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |s| s.name == name)
    }
}
