//! How does a test get a cluster? By starting one of its own, or by sharing that of its test binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tempfile::TempDir;

use super::{objects, run, script, tail};

/// What a cluster is to be like; by default whole and without nodes.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// How many nodes it has from the start: `node-0000`, `node-0001`, …
    pub nodes: usize,
    /// Without kwok nothing happens to nodes and pods that the test does not write itself.
    pub without_kwok: bool,
    /// Without a scheduler pods stay unscheduled.
    pub without_scheduler: bool,
    /// Without a controller manager Deployments have no pods.
    pub without_controller_manager: bool,
    /// A node whose lease is not renewed turns Unknown in about 6 s instead of 50 s.
    pub fast_node_loss: bool,
    /// More arguments for the API server, such as `--event-ttl=10s`.
    pub apiserver_args: Vec<String>,
}

impl ClusterOptions {
    /// The API server and its store alone: nothing happens that the test does not do itself.
    pub fn bare() -> Self {
        Self {
            without_kwok: true,
            without_scheduler: true,
            without_controller_manager: true,
            ..Self::default()
        }
    }
}

/// A running cluster. It ends with this handle, or with the test process.
#[derive(Debug)]
pub struct Cluster {
    directory: TempDir,
}

impl Cluster {
    /// Starts a cluster: about 3 s on an idle machine.
    pub fn start(options: &ClusterOptions) -> Self {
        let directory = tempfile::Builder::new().prefix("kubestrata-bed-").tempdir();
        let directory = directory.unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let mut up = Command::new(script("cluster"));
        up.arg("up").arg(directory.path());
        up.args(["--owner", &std::process::id().to_string()]);
        up.args(["--nodes", &options.nodes.to_string()]);
        for (wanted, flag) in [
            (options.without_kwok, "--no-kwok"),
            (options.without_scheduler, "--no-scheduler"),
            (options.without_controller_manager, "--no-controller-manager"),
            (options.fast_node_loss, "--fast-node-loss"),
        ] {
            up.args(wanted.then_some(flag));
        }
        for argument in &options.apiserver_args {
            up.args(["--apiserver-arg", argument]);
        }
        run(&mut up);
        Self { directory }
    }

    /// The cluster that the tests of this binary share, with three nodes. A test that stops parts of
    /// it, or counts what there is in it, starts its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&ClusterOptions { nodes: 3, ..Default::default() }))
    }

    /// A client with every right. It belongs to the runtime of the test that asks for it.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig()).await
    }

    /// A client with the rights that a kubeconfig has.
    pub async fn client_of(&self, kubeconfig: &Path) -> Client {
        client(kubeconfig).await
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// The API server's URL.
    pub fn server_url(&self) -> String {
        let env = std::fs::read_to_string(self.path("env")).unwrap_or_default();
        let server = env.lines().find_map(|line| line.strip_prefix("SERVER="));
        server.unwrap_or_else(|| panic!("no SERVER in the cluster's env")).to_owned()
    }

    /// A new namespace with a name of its own that begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = json!({"metadata": {"name": name}});
        objects::create(&self.client().await, "/api/v1/namespaces", &namespace).await;
        name
    }

    /// Stops a part (`etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kwok`).
    pub fn stop_part(&self, part: &str) {
        self.part("stop", part);
    }

    /// Kills a part with SIGKILL.
    pub fn kill_part(&self, part: &str) {
        self.part("kill", part);
    }

    /// Starts a stopped part on the same port and data, and waits until it is ready.
    pub fn start_part(&self, part: &str) {
        self.part("start", part);
    }

    /// Fills it with nodes, and with pods in Deployments of 10; waits until all run.
    pub fn scale(&self, nodes: usize, pods: usize, namespaces: usize) {
        let numbers = [nodes, pods, namespaces].map(|number| number.to_string());
        run(Command::new(script("cluster")).arg("scale").arg(self.directory.path()).args(numbers));
    }

    /// A file in its directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn part(&self, verb: &str, part: &str) {
        let directory = self.directory.path();
        run(Command::new(script("cluster")).args(["part", verb]).arg(directory).arg(part));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        if panicking {
            for part in ["kube-apiserver", "kube-controller-manager", "kwok"] {
                let log = self.path("logs").join(format!("{part}.log"));
                eprintln!("the last lines of {part}:\n{}", tail(&log, 5));
            }
        }
        // No panic here: where a test panics already it would end the whole binary.
        let mut down = Command::new(script("cluster"));
        if !down.arg("down").arg(self.directory.path()).output().is_ok_and(|o| o.status.success()) {
            eprintln!("the cluster in {} could not be ended", self.directory.path().display());
        }
        if panicking {
            self.directory.disable_cleanup(true);
            let _ = std::fs::remove_dir_all(self.path("etcd"));
            eprintln!("the cluster's logs are kept in {}", self.path("logs").display());
        }
    }
}

/// A client as a kubeconfig has it.
pub(super) async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig);
    let read = read.unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()));
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let config = config.unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()));
    Client::try_from(config).unwrap_or_else(|error| panic!("no client: {error}"))
}
