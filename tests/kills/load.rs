//! What happens to a cluster all the time? Restarts, failed probes, and disks that are full for a while; each is noted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::json;
use tokio::time::sleep;

use crate::bed::objects;

pub const NAMESPACE: &str = "kills";
pub const PODS: u64 = 40;
pub const PROBED: u64 = 4;

/// A small generator (SplitMix64): a failure is a seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }
}

pub fn now() -> Timestamp {
    objects::now().parse().unwrap()
}

/// A node whose disk is full for a while.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    pub from: Timestamp,
    pub until: Option<Timestamp>,
}

/// What was done to the cluster.
#[derive(Debug, Default)]
pub struct Truth {
    pub restarts: Vec<u64>,
    pub probes: Vec<u32>,
    pub episodes: BTreeMap<String, Episode>,
}

/// Does something to the cluster all the time, until it is told to stop.
pub struct Load {
    client: Client,
    random: Random,
    truth: Arc<Mutex<Truth>>,
    /// Nodes with a full disk, and until when.
    full: Vec<(String, Timestamp)>,
}

impl Load {
    pub fn new(client: Client, seed: u64, truth: Arc<Mutex<Truth>>) -> Self {
        Self { client, random: Random(seed), truth, full: Vec::new() }
    }

    pub async fn go_on(mut self, done: Arc<AtomicBool>) {
        let mut nodes = 0;
        while !done.load(Ordering::Relaxed) {
            match self.random.below(20) {
                0 => {
                    nodes += 1;
                    self.fill_disk(&format!("n{nodes}")).await;
                }
                1 => self.fail_probe().await,
                _ => self.restart().await,
            }
            let over = |(_, until): &(String, Timestamp)| *until <= now();
            if let Some(place) = self.full.iter().position(over) {
                let (name, _) = self.full.swap_remove(place);
                self.mend(&name).await;
            }
            let pause = self.random.millis(60);
            sleep(pause).await;
        }
    }

    async fn restart(&mut self) {
        let pod = self.random.below(PODS) as usize;
        let restarts = self.truth.lock().unwrap().restarts[pod] + 1;
        let last = objects::terminated("Error", 1);
        let main = objects::container("main", restarts as u32, &objects::running(), &last);
        let status = json!({"phase": "Running", "containerStatuses": [main]});
        objects::patch_pod_status(&self.client, NAMESPACE, &format!("p{pod}"), &status).await;
        self.truth.lock().unwrap().restarts[pod] = restarts;
    }

    async fn fail_probe(&mut self) {
        let pod = self.random.below(PROBED) as usize;
        let count = self.truth.lock().unwrap().probes[pod] + 1;
        objects::repeat_event(&self.client, NAMESPACE, &format!("p{pod}.probe"), count).await;
        self.truth.lock().unwrap().probes[pod] = count;
    }

    async fn fill_disk(&mut self, name: &str) {
        let mut node = objects::node(name);
        node["metadata"]["labels"] = json!({});
        objects::create(&self.client, "/api/v1/nodes", &node).await;
        set_pressure(&self.client, name, "True").await;
        let from = now();
        let lasts = SignedDuration::try_from(self.random.millis(20_000)).unwrap();
        self.full.push((name.to_owned(), from + lasts));
        self.truth.lock().unwrap().episodes.insert(name.to_owned(), Episode { from, until: None });
    }

    async fn mend(&mut self, name: &str) {
        self.truth.lock().unwrap().episodes.get_mut(name).unwrap().until = Some(now());
        match self.random.below(2) {
            0 => set_pressure(&self.client, name, "False").await,
            _ => objects::delete(&self.client, &format!("/api/v1/nodes/{name}")).await,
        }
    }
}

async fn set_pressure(client: &Client, node: &str, status: &str) {
    let condition = json!({
        "type": "DiskPressure", "status": status, "reason": "Test", "message": "as a test says",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    });
    let path = format!("/api/v1/nodes/{node}");
    objects::patch_status(client, &path, &json!({"conditions": [condition]})).await;
}
