//! The other end of the API: one request, one connection, over the unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::cluster;
use crate::control::wire::{
    Failure, History, Import, Imported, Lift, Listing, Made, NewRule, NewVerify, OldRule, Registered, Registrations,
    Remembered, Removed, Rules, SlowedList, Suspensions, Undo, Undone, Verified,
};
use crate::detector;
use crate::feed;
use crate::live::wire::{Attack, Backends, Drain, Gateways, NewAttack, Reloaded, Status, Switch, Switched};

/// How long to wait for an answer. Shorter: a block over a million rules on a slow disk would look failed and be made.
/// Longer: nobody waits longer at a prompt.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The same for an import: a million lines on a slow disk.
const IMPORT_PATIENCE: Duration = Duration::from_secs(900);

/// No answer, or one that says no.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody is there.
    #[error("{path}: {source}; is vos-engine running? the filter that is loaded stays in force meanwhile")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user may not.
    #[error("{path}: permission denied; run as root or as a member of the group in socket_group")]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The engine broke off, or what answered is no engine.
    #[error(
        "{path}: {what}; the request may or may not have been carried out: look (vosctl list) before you repeat it"
    )]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        what: String,
    },
    /// The engine refused.
    #[error("{}", .failure.error)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        failure: Failure,
    },
}

/// By this the engine knows that it was the operator's tool that asked.
pub(super) const AGENT: &str = concat!("vosctl/", env!("CARGO_PKG_VERSION"));

/// A way to the engine of one interface.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the engine that listens at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a decision.
    pub async fn decide(&self, rule: &NewRule) -> Result<Made, ClientError> {
        self.call(Method::POST, "/v1/rules", Some(rule)).await
    }

    /// Takes a decision back.
    pub async fn remove(&self, rule: &OldRule) -> Result<Removed, ClientError> {
        self.call(Method::DELETE, "/v1/rules", Some(rule)).await
    }

    /// A page of the decisions in force.
    pub async fn list(&self, listing: &Listing) -> Result<Rules, ClientError> {
        self.call(Method::GET, &self.target("/v1/rules", listing)?, None::<&()>).await
    }

    /// What was done, so that it can be undone.
    pub async fn history(&self, wanted: &Remembered) -> Result<History, ClientError> {
        self.call(Method::GET, &self.target("/v1/history", wanted)?, None::<&()>).await
    }

    /// Takes a change back.
    pub async fn undo(&self, undo: &Undo) -> Result<Undone, ClientError> {
        self.call(Method::POST, "/v1/undo", Some(undo)).await
    }

    /// Has a list taken.
    pub async fn import(&self, import: &Import, list: Vec<u8>) -> Result<Imported, ClientError> {
        let target = self.target("/v1/import", import)?;
        let answer = self.read(self.send_as(Method::POST, &target, "text/plain; charset=utf-8", list.into()));
        self.wait(IMPORT_PATIENCE, answer).await
    }

    /// Who decides without an operator.
    pub async fn feeds(&self) -> Result<Vec<feed::View>, ClientError> {
        self.call(Method::GET, "/v1/feeds", None::<&()>).await
    }

    /// Compares disk, decisions and the kernel's maps.
    pub async fn verify(&self, verify: &NewVerify) -> Result<Verified, ClientError> {
        self.call(Method::POST, "/v1/verify", Some(verify)).await
    }

    /// The counters.
    pub async fn stats(&self) -> Result<Value, ClientError> {
        self.call(Method::GET, "/v1/stats", None::<&()>).await
    }

    /// Who might have to be allowed.
    pub async fn suggest_allow(&self) -> Result<Value, ClientError> {
        self.call(Method::GET, "/v1/suggest-allow", None::<&()>).await
    }

    /// What is in force.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.call(Method::GET, "/v1/status", None::<&()>).await
    }

    /// Has the engine read its configuration again.
    pub async fn reload(&self) -> Result<Reloaded, ClientError> {
        self.call(Method::POST, "/v1/reload", None::<&()>).await
    }

    /// Has a rule do something else until the next reload.
    pub async fn switch(&self, switch: &Switch) -> Result<Switched, ClientError> {
        self.call(Method::PUT, "/v1/rule-modes", Some(switch)).await
    }

    /// The nodes of the cluster; asks them, which takes a second where one is silent.
    pub async fn cluster(&self) -> Result<cluster::wire::Status, ClientError> {
        self.call(Method::GET, "/v1/cluster", None::<&()>).await
    }

    /// Has all nodes forget one that is no longer there.
    pub async fn forget_node(&self, node: &cluster::wire::OldNode) -> Result<cluster::wire::Forgotten, ClientError> {
        self.call(Method::DELETE, "/v1/cluster", Some(node)).await
    }

    /// Trunks, and their calls.
    pub async fn gateways(&self) -> Result<Gateways, ClientError> {
        self.call(Method::GET, "/v1/gateways", None::<&()>).await
    }

    /// The softswitches.
    pub async fn backends(&self) -> Result<Backends, ClientError> {
        self.call(Method::GET, "/v1/backends", None::<&()>).await
    }

    /// Gives a softswitch no new calls, or again some, until the next reload.
    pub async fn drain(&self, drain: &Drain) -> Result<Backends, ClientError> {
        self.call(Method::PUT, "/v1/backends", Some(drain)).await
    }

    /// Who is suspended.
    pub async fn suspensions(&self) -> Result<Suspensions, ClientError> {
        self.call(Method::GET, "/v1/suspensions", None::<&()>).await
    }

    /// Who is slowed.
    pub async fn slowed(&self) -> Result<SlowedList, ClientError> {
        self.call(Method::GET, "/v1/slowed", None::<&()>).await
    }

    /// Slows them no longer; gives those that were.
    pub async fn hurry(&self, lift: &Lift) -> Result<SlowedList, ClientError> {
        self.call(Method::DELETE, "/v1/slowed", Some(lift)).await
    }

    /// Who is registered.
    pub async fn registrations(&self, wanted: &Registered) -> Result<Registrations, ClientError> {
        self.call(Method::GET, &self.target("/v1/registrations", wanted)?, None::<&()>).await
    }

    /// Ends suspensions; gives those that were.
    pub async fn lift(&self, lift: &Lift) -> Result<Suspensions, ClientError> {
        self.call(Method::DELETE, "/v1/suspensions", Some(lift)).await
    }

    /// Is it an attack, what is seen and what is usual?
    pub async fn attacked(&self) -> Result<detector::View, ClientError> {
        self.call(Method::GET, "/v1/attack", None::<&()>).await
    }

    /// Switches attack mode on, for a time, or off.
    pub async fn attack(&self, on: Option<&NewAttack>) -> Result<Attack, ClientError> {
        let method = if on.is_some() { Method::PUT } else { Method::DELETE };
        self.call(method, "/v1/attack", on).await
    }

    /// One request: `target` is path and query; an answer other than 200 is [`ClientError::Refused`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        self.wait(PATIENCE, self.read(self.send(method, target, body))).await
    }

    async fn wait<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.broken(format!("no answer for {} s", patience.as_secs()))),
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        response: impl Future<Output = Result<Response<Incoming>, ClientError>>,
    ) -> Result<T, ClientError> {
        let body = response.await?.into_body().collect().await.map_err(|error| self.broken(error.to_string()))?;
        serde_json::from_slice(&body.to_bytes())
            .map_err(|error| self.broken(format!("not an answer of vos-engine: {error}")))
    }

    /// Sends a request; the answer is a 200 whose body is yet to come.
    pub(super) async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, ClientError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| self.broken(error.to_string()))?;
        self.send_as(method, target, "application/json", body.unwrap_or_default().into()).await
    }

    async fn send_as(
        &self,
        method: Method,
        target: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Forbidden { path: self.path.clone() },
            _ => ClientError::Unreachable { path: self.path.clone(), source },
        })?;
        let broken = |error: hyper::Error| self.broken(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the connection; what went wrong in it the request tells as well.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "localhost")
            .header(header::USER_AGENT, AGENT)
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .map_err(|error| self.broken(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
        let failure = serde_json::from_slice(&body)
            .map_err(|_| self.broken(format!("not an answer of vos-engine: HTTP {status}")))?;
        Err(ClientError::Refused { status: status.as_u16(), failure })
    }

    /// A path and its query.
    fn target(&self, path: &str, query: &impl Serialize) -> Result<String, ClientError> {
        let query = serde_urlencoded::to_string(query).map_err(|error| self.broken(error.to_string()))?;
        Ok(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
    }

    pub(super) fn broken(&self, what: String) -> ClientError {
        ClientError::Broken { path: self.path.clone(), what }
    }
}
