//! How is the API server reached? Over one HTTP/2 connection, with what a kubeconfig or a service account says.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as HyperClient, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use k8s_openapi::api::core::v1::Namespace;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use thiserror::Error;
use tower::ServiceBuilder;
use tower_http::decompression::DecompressionLayer;

use super::endpoint::KubeletAccess;
use super::failure::{Failure, root_cause};
use crate::model::source::Availability;

/// Connecting takes longer than this only when nobody answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which nothing moves is asked for a sign of life this often, and given up when none comes: a watch
/// has no other way to learn that its server is gone.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Which cluster to reach, and as whom.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The kubeconfig; `None`: the service account in a cluster, else `KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None`: its current one.
    pub context: Option<String>,
}

/// A client of a cluster.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The API server's URL.
    pub server: String,
    /// How the cluster's kubelets are reached; `None` where they can't be.
    pub kubelets: Option<KubeletAccess>,
}

/// What the API server says of itself.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Its version, such as `v1.37.2`.
    pub version: String,
    /// The uid of the namespace kube-system, which stands for the cluster's; `None` where it can't be read.
    pub cluster_uid: Option<String>,
}

/// Why a cluster can't be reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig can't be read.
    #[error("could not read the kubeconfig {}: {why}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why, with line and column where it is no kubeconfig.
        why: String,
    },
    /// There is nothing that says which cluster.
    #[error(
        "no cluster to watch: give --kubeconfig FILE, set KUBECONFIG, or run with a service account"
    )]
    NoCluster,
    /// The kubeconfig has no such context.
    #[error("the kubeconfig has no context {context:?}; it has {known}")]
    NoContext {
        /// The context asked for.
        context: String,
        /// Those that there are.
        known: String,
    },
    /// What the kubeconfig says can't be used.
    #[error("could not use the kubeconfig: {0}")]
    Unusable(String),
    /// The API server does not answer.
    #[error("could not reach the API server {server}: {why}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// Why.
        why: String,
    },
    /// The API server does not know us.
    #[error(
        "the API server {server} does not accept our credentials: {why}; log in again or renew the token"
    )]
    Unauthorized {
        /// Its URL.
        server: String,
        /// Why.
        why: String,
    },
}

/// Makes a client. Nothing is sent yet.
pub async fn connect(options: &ConnectOptions) -> Result<Connection, ConnectError> {
    // Two providers may be compiled in by others; rustls asks that one be chosen. A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = configure(options).await?;
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = client_of(config.clone()).map_err(|e| ConnectError::Unusable(root_cause(&e)))?;
    Ok(Connection { client, server, kubelets: Some(KubeletAccess::Network(Box::new(config))) })
}

async fn configure(options: &ConnectOptions) -> Result<Config, ConnectError> {
    let asked = options.kubeconfig.is_some() || options.context.is_some();
    if !asked && let Ok(config) = Config::incluster() {
        return Ok(config);
    }
    let kubeconfig = match &options.kubeconfig {
        Some(path) => read(path)?,
        None => default_kubeconfig()?,
    };
    if let Some(context) = options.context.as_ref().or(kubeconfig.current_context.as_ref()) {
        let known: Vec<&str> = kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect();
        if !known.contains(&context.as_str()) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(ConnectError::NoContext { context: context.clone(), known });
        }
    }
    let chosen =
        KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &chosen)
        .await
        .map_err(|error| ConnectError::Unusable(chain(&error)))
}

fn read(path: &Path) -> Result<Kubeconfig, ConnectError> {
    let failed = |why: String| ConnectError::Kubeconfig { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    Kubeconfig::from_yaml(&text).map_err(|e| failed(one_line(&root_cause(&e))))?;
    // Read again by path, so that files named in it are looked for beside it.
    Kubeconfig::read_from(path).map_err(|e| failed(one_line(&root_cause(&e))))
}

fn default_kubeconfig() -> Result<Kubeconfig, ConnectError> {
    match Kubeconfig::read() {
        Ok(kubeconfig) => Ok(kubeconfig),
        Err(error) => match std::env::var_os("KUBECONFIG") {
            Some(path) => {
                Err(ConnectError::Kubeconfig { path: path.into(), why: one_line(&chain(&error)) })
            }
            None => Err(ConnectError::NoCluster),
        },
    }
}

/// An error with its causes. Parsers draw the line of the file; a log wants one line, and a kubeconfig has secrets.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

/// The client's own stack speaks HTTP/1.1 only, so each watch would be a connection of its own.
pub(super) fn client_of(config: Config) -> Result<Client, kube::Error> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_nodelay(true);
    let mut https = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    if let Some(name) = config.tls_server_name.clone()
        && let Ok(name) = name.try_into()
    {
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let hyper: HyperClient<_, Body> = HyperClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .build(https.enable_all_versions().wrap_connector(http));
    let stack = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(DecompressionLayer::new())
        .map_err(tower::BoxError::from)
        .service(hyper);
    Ok(Client::new(stack, config.default_namespace))
}

/// Asks the API server who it is, so that what is wrong is told once and in one line.
pub async fn preflight(connection: &Connection) -> Result<ServerInfo, ConnectError> {
    let server = connection.server.clone();
    let asked =
        tokio::time::timeout(2 * CONNECT_TIMEOUT, connection.client.apiserver_version()).await;
    let version = match asked {
        Ok(Ok(version)) => version.git_version,
        Ok(Err(error)) => {
            let failure = Failure::from(&error);
            return Err(match failure.availability {
                Availability::Unauthorized => {
                    ConnectError::Unauthorized { server, why: failure.message }
                }
                _ => ConnectError::Unreachable { server, why: failure.message },
            });
        }
        Err(_) => {
            let why = format!("no answer within {} s", 2 * CONNECT_TIMEOUT.as_secs());
            return Err(ConnectError::Unreachable { server, why });
        }
    };
    let namespaces: Api<Namespace> = Api::all(connection.client.clone());
    match namespaces.get_metadata("kube-system").await {
        Ok(namespace) => Ok(ServerInfo { version, cluster_uid: namespace.metadata.uid }),
        Err(error) => {
            let failure = Failure::from(&error);
            match failure.availability {
                Availability::Unauthorized => {
                    Err(ConnectError::Unauthorized { server, why: failure.message })
                }
                _ => Ok(ServerInfo { version, cluster_uid: None }),
            }
        }
    }
}
