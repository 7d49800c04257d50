//! The HTTP API, on the unix socket and over TCP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/rules` with [`Listing`](crate::control::wire::Listing) as query | [`Rules`](crate::control::wire::Rules) |
//! | `POST /v1/rules` [`NewRule`](crate::control::wire::NewRule) | [`Made`](crate::control::wire::Made) |
//! | `DELETE /v1/rules` with [`OldRule`](crate::control::wire::OldRule) as body or query | [`Removed`](crate::control::wire::Removed) |
//! | `GET /v1/history[?limit=N]` | [`History`](crate::control::wire::History) |
//! | `POST /v1/undo` [`Undo`](crate::control::wire::Undo) | [`Undone`](crate::control::wire::Undone) |
//! | `POST /v1/import` with [`Import`](crate::control::wire::Import) as query, a list as body | [`Imported`](crate::control::wire::Imported) |
//! | `POST /v1/verify` [`NewVerify`](crate::control::wire::NewVerify) | [`Verified`](crate::control::wire::Verified) |
//! | `GET /v1/stats` | [`Engine::stats`] |
//! | `GET /v1/suggest-allow` | [`Engine::suggest_allow`] |
//! | `GET /metrics` | the page of [`metrics`](crate::metrics), for Prometheus |
//! | `GET /v1/feeds` | a list of [`feed::View`] |
//! | `GET /v1/cluster` | [`Status`](crate::cluster::wire::Status) |
//! | `DELETE /v1/cluster` [`OldNode`](crate::cluster::wire::OldNode) | [`Forgotten`](crate::cluster::wire::Forgotten) |
//! | `GET /v1/events[?reason=R][&frames=1]` | server-sent events, an [`Event`](crate::events::Event) each, from now on until the engine stops |
//! | `GET /v1/events/recent[?reason=R][&frames=1]` | [`RecentEvents`](crate::control::wire::RecentEvents) |
//! | `GET /v1/status` | [`Status`](crate::live::wire::Status) |
//! | `POST /v1/reload` | [`Reloaded`](crate::live::wire::Reloaded) |
//! | `PUT /v1/rule-modes` [`Switch`](crate::live::wire::Switch) | [`Switched`](crate::live::wire::Switched) |
//! | `GET /v1/backends`, `PUT /v1/backends` [`Drain`](crate::live::wire::Drain) | [`Backends`](crate::live::wire::Backends) |
//! | `GET /v1/suspensions` | [`Suspensions`](crate::control::wire::Suspensions) |
//! | `DELETE /v1/suspensions` [`Lift`](crate::control::wire::Lift) | [`Suspensions`](crate::control::wire::Suspensions): those that were |
//! | `GET /v1/slowed` | [`SlowedList`](crate::control::wire::SlowedList) |
//! | `DELETE /v1/slowed` [`Lift`](crate::control::wire::Lift) | [`SlowedList`](crate::control::wire::SlowedList): those that were |
//! | `GET /v1/registrations` with [`Registered`](crate::control::wire::Registered) as query | [`Registrations`](crate::control::wire::Registrations) |
//! | `GET /v1/gateways` | [`Gateways`](crate::live::wire::Gateways) |
//! | `GET /v1/attack` | [`View`](crate::detector::View): how it stands, and why |
//! | `PUT /v1/attack` [`NewAttack`](crate::live::wire::NewAttack), `DELETE /v1/attack` | [`Attack`](crate::live::wire::Attack) |
//!
//! Anything but 200 is a [`Failure`](crate::control::wire::Failure) with a stable code: 400 `bad_request`,
//! `bad_address`, `bad_ttl`, `bad_reason`, `no_such_reason`, `bad_config`, `bad_rule`; 401 `unauthorized` (over TCP);
//! 403 `not_for_feeds`; 404 `no_such_rule`, `no_such_change`, `no_such_backend`, `no_such_node`, `no_such_suspension`, `not_slowed`, `covered`, `no_cluster`,
//! `no_such_path`; 405 `bad_method`; 408 `too_slow`; 409 `guarded`, `trusted`, `allowed`, `too_wide`, `undone`, `busy`,
//! `node_is_there`; 413 `too_large`; 500 `store`, `maps`, `internal`; 503 `no_log`; 507 `map_full`.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What goes back: an answer, or what is wrong.
mod answer;
/// How all nodes are.
mod cluster;
/// What it says of itself.
mod description;
/// What was done, and how it is undone.
mod history;
/// A list of decisions, taken.
mod import;
/// The decisions in force.
mod list;
/// Who asks.
mod peer;
/// Who is registered.
mod registrations;
/// A decision, taken or taken back.
mod rules;
/// Who is slowed.
mod slowed;
/// Who is suspended.
mod suspensions;
/// Reload, run-time switches, status.
mod switches;
/// Do disk, decisions and kernel agree?
mod verify;

pub(crate) use answer::Problem;
pub(super) use answer::{Answer, Json};
pub(crate) use peer::Peer;

use crate::cluster::Cluster;
use crate::control::decide::Control;
use crate::control::stream;
use crate::detector;
use crate::events::{Events, SoftswitchState};
use crate::feed;
use crate::live::Live;
use crate::live::wire::Backend;
use crate::metrics::{self, Format, Measured};
use crate::policy;
use crate::privileges;

/// The largest body taken, bytes. One rule needs some 500; more would only be memory for whoever asks.
pub const MAX_BODY: usize = 16 * 1024;
/// How long a stop waits for requests in progress. Shorter: a commit to a slow disk is not answered. Longer: a client
/// that never finishes its request holds up a restart.
const GRACE: Duration = Duration::from_secs(2);
/// What is said where a panic ended what was asked for.
const INSIDE: &str = "the request failed inside; see the log";

/// What the API asks of the running engine. Called from threads that may block.
pub trait Engine: Measured {
    /// `{"mode","queues","xdp","bind","inject","judged","reasons":{label:n},"would_drop":{label:n},"allowed_dropped":{label:n},
    /// "allowed_would_drop":{label:n},"decisions":{kind:n},"workers":[...]}`, and for `relay.to = "proxy…"`
    /// `"proxy":{"strays":{word:n},"backends":[...]}`.
    fn stats(&self) -> Value;

    /// `{"candidates":[{"address","answered","last_seen_s"}]}`: who sends OPTIONS that the server answers.
    fn suggest_allow(&self) -> Value;

    /// The softswitches, for `relay.to = "proxy…"`.
    fn backends(&self) -> Vec<Backend>;

    /// Where news goes in and out.
    fn events(&self) -> &Events;

    /// What is in force, and the ways to change it.
    fn live(&self) -> &Live;

    /// Do survivors go through the engine?
    fn relaying(&self) -> bool;
    /// How many workers find the relay's peer there, and how many there are; `None`: there is to be none.
    fn peers(&self) -> Option<(usize, usize)> {
        None
    }

    /// Who decides without an operator.
    fn feeds(&self) -> Vec<feed::View> {
        Vec::new()
    }

    /// Is it an attack, and why?
    fn attack(&self) -> detector::View {
        detector::View::default()
    }

    /// This node in its cluster; `None`: it is in none.
    fn cluster(&self) -> Option<Arc<Cluster>> {
        None
    }

    /// Who is suspended.
    fn suspensions(&self) -> Vec<policy::Shown> {
        Vec::new()
    }

    /// Ends the suspension of who is called so, or of all, and gives those that were.
    ///
    /// # Errors
    ///
    /// That is not on disk: after a restart they may be suspended again.
    fn lift(&self, whom: Option<&str>) -> io::Result<Vec<policy::Shown>> {
        let _nobody_is = whom;
        Ok(Vec::new())
    }

    /// Who is slowed.
    fn slowed(&self) -> Vec<policy::ShownSlowed> {
        Vec::new()
    }

    /// Slows who has this address no longer, or nobody, and gives those that were.
    fn hurry(&self, whom: Option<&str>) -> Vec<policy::ShownSlowed> {
        let _nobody_is = whom;
        Vec::new()
    }

    /// So many of those who are registered and sought, from place `skip` on.
    fn registrations(&self, sought: &policy::Sought, skip: usize, limit: usize) -> policy::Page {
        let _nobody_is = (sought, skip, limit);
        policy::Page::default()
    }

    /// Who answers OPTIONS of the engine's own; `None`: nobody is asked.
    fn online(&self) -> Option<&policy::Online> {
        None
    }

    /// How is the softswitch? `None`: it is not asked.
    fn softswitch(&self) -> Option<SoftswitchState> {
        None
    }
}

#[derive(Clone)]
pub(super) struct Shared {
    control: Arc<Control>,
    pub(super) engine: Arc<dyn Engine>,
    /// Places for lists; those who come over TCP take none from those on the unix socket.
    lists: Arc<Semaphore>,
    /// The control plane's runtime, for what needs files or other services of the host: the threads of the API are
    /// [kept](crate::confinement) from them.
    outside: Handle,
}

/// Serves until `stop` resolves, then lets requests in progress finish for a moment. What needs files is done in the runtime
/// `outside`; the socket's file is whose it was.
pub async fn serve(
    listener: std::os::unix::net::UnixListener,
    control: Arc<Control>,
    engine: Arc<dyn Engine>,
    outside: Handle,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let (stopping, stopped) = oneshot::channel();
    let events = Arc::clone(&engine);
    let service = router(control, engine, outside).into_make_service_with_connect_info::<Peer>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        stop.await;
        // a stream would go on for ever
        events.events().close();
        let _nobody_may_wait_any_more = stopping.send(());
    });
    let patience = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(GRACE).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = async { server.await } => served,
        () = patience => Ok(()),
    }
}

/// The API, for whatever it is served over: each request carries a [`ConnectInfo`] of [`Peer`].
pub(crate) fn router(control: Arc<Control>, engine: Arc<dyn Engine>, outside: Handle) -> Router {
    let shared = Shared { control, engine, lists: Arc::new(Semaphore::new(import::LISTS_MAX)), outside };
    let (router, described) = OpenApiRouter::with_openapi(description::begin())
        .merge(rules::routes())
        .routes(routes!(stats))
        .routes(routes!(suggest_allow))
        .routes(routes!(feeds))
        .routes(routes!(metrics))
        .routes(routes!(stream::follow))
        .routes(routes!(stream::recent))
        .routes(routes!(description::openapi))
        .merge(history::routes())
        .merge(cluster::routes())
        .merge(import::routes())
        .merge(verify::routes())
        .merge(slowed::routes())
        .merge(suspensions::routes())
        .merge(registrations::routes())
        .merge(switches::routes())
        .split_for_parts();
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(bad_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(Extension(Arc::new(description::finish(described))))
        .with_state(shared)
}

/// What the [page](crate::control::web) reads, and the one change that it can ask for: nothing else is there.
pub(super) fn shown(control: Arc<Control>, engine: Arc<dyn Engine>, outside: Handle) -> Router {
    Router::new()
        .route("/v1/stats", get(stats))
        .route("/v1/feeds", get(feeds))
        .route("/v1/status", get(switches::status))
        .route("/v1/attack", get(switches::attacked))
        .route("/v1/history", get(history::history))
        .route("/v1/events", get(stream::follow))
        .route("/v1/events/recent", get(stream::recent))
        .route("/v1/undo", post(history::undo))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Shared { control, engine, lists: Arc::new(Semaphore::new(0)), outside })
}

/// Runs what may wait for the disk or a lock where it holds up no other request.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal(INSIDE))
}

/// The same for what needs files, or asks other services of the host.
async fn outside<T: Send + 'static>(runtime: &Handle, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    match privileges::on_pool(runtime, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(Problem::internal(INSIDE)),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // serde takes an array for an object, too: its fields one after the other
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::bad_request("the body is an array: write an object, {\"name\":value}"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is not what it should be: {error}")))
}

/// The same of a body that need not be there.
fn read_if_any<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, Problem> {
    if body.is_empty() { Ok(None) } else { read(body) }
}

/// The counters, as `vosctl stats` shows them.
#[utoipa::path(get, path = "/v1/stats", responses((status = 200, description = "Since the maps were made", body = Object)))]
async fn stats(State(shared): State<Shared>) -> Answer<Value> {
    blocking(move || Json(shared.engine.stats())).await
}

/// The feeds, and what came of what they wished for.
#[utoipa::path(get, path = "/v1/feeds", responses((status = 200, description = "By name", body = Vec<feed::View>)))]
async fn feeds(State(shared): State<Shared>) -> Answer<Vec<feed::View>> {
    blocking(move || Json(shared.engine.feeds())).await
}

/// Who sends OPTIONS that the softswitch answers: whom one may have to allow.
#[utoipa::path(
    get,
    path = "/v1/suggest-allow",
    responses((status = 200, description = "`{\"candidates\":[{\"address\",\"answered\",\"last_seen_s\"}]}`", body = Object)),
)]
async fn suggest_allow(State(shared): State<Shared>) -> Answer<Value> {
    blocking(move || Json(shared.engine.suggest_allow())).await
}

/// What is counted, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((
        status = 200,
        description = "OpenMetrics text for who accepts it by name, else the text format 0.0.4",
        content((String = Format::PLAIN), (String = Format::OPEN)),
    )),
)]
async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let Shared { control, engine, .. } = shared;
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let format = Format::accepted(&accepts.collect::<Vec<_>>().join(","));
    let page = blocking(move || metrics::text(vec![engine, control], format)).await?;
    let page = page.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], page).into_response())
}

async fn no_such_path(Extension(described): description::Described) -> Problem {
    let paths = described["paths"].as_object();
    let paths: Vec<&str> = paths.into_iter().flat_map(|paths| paths.keys()).map(String::as_str).collect();
    let error = format!("there is no such path: {} are served", paths.join(", "));
    Problem { status: StatusCode::NOT_FOUND, code: "no_such_path", error }
}

async fn bad_method() -> Problem {
    let error = "this path does not take that method: GET reads, POST, PUT and DELETE change".to_owned();
    Problem { status: StatusCode::METHOD_NOT_ALLOWED, code: "bad_method", error }
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
