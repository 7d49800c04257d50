//! What happens, as the API tells it: once, or for as long as somebody listens.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{self, KeepAlive};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use vos_common::reason::Reason;

use crate::control::api::{Answer, Json, Problem, Shared};
use crate::control::wire::RecentEvents;
use crate::events::{Event, Wanted};

/// How often a quiet stream says that it is there. Shorter: bytes for nothing. Longer: a client behind a proxy is cut
/// off, and one that is gone is noticed late.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    reason: Option<String>,
    frames: Option<u8>,
}

type Asked = Result<Query<Parameters>, QueryRejection>;

fn wanted(asked: Asked) -> Result<Wanted, Problem> {
    let error = "the parameters are reason (a reason's label) and frames (0 or 1)";
    let Query(Parameters { reason, frames }) = asked.map_err(|_| Problem::bad_request(error))?;
    if frames.is_some_and(|frames| frames > 1) {
        return Err(Problem::bad_request(error));
    }
    if let Some(label) = reason.as_deref().filter(|label| Reason::of_label(label).is_none()) {
        let labels: Vec<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        let error = format!("there is no reason `{label}`; there are {}", labels.join(", "));
        return Err(Problem { status: StatusCode::BAD_REQUEST, code: "no_such_reason", error });
    }
    Ok(Wanted { reason, frames: frames == Some(1) })
}

/// What happened last: the last few of each kind, oldest first.
#[utoipa::path(
    get,
    path = "/v1/events/recent",
    params(
        ("reason" = Option<String>, Query, description = "Only packets dropped for the reason of this label"),
        ("frames" = Option<u8>, Query, description = "1: with the frames, in base64", minimum = 0, maximum = 1),
    ),
    responses((status = 200, description = "Events", body = RecentEvents)),
)]
pub(super) async fn recent(State(shared): State<Shared>, asked: Asked) -> Answer<RecentEvents> {
    Ok(Json(RecentEvents { events: shared.engine.events().recent(&wanted(asked)?) }))
}

/// What happens from now on until the engine stops: server-sent events, each an `Event`.
#[utoipa::path(
    get,
    path = "/v1/events",
    params(
        ("reason" = Option<String>, Query, description = "Only packets dropped for the reason of this label"),
        ("frames" = Option<u8>, Query, description = "1: with the frames, in base64", minimum = 0, maximum = 1),
    ),
    responses((status = 200, description = "Events as they come", body = Event, content_type = "text/event-stream")),
)]
pub(super) async fn follow(
    State(shared): State<Shared>,
    asked: Asked,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let watcher = shared.engine.events().watch(wanted(asked)?);
    let events = stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        // numbers and strings always have a JSON form, without line ends
        let data = serde_json::to_string(&event).unwrap_or_default();
        Some((Ok(sse::Event::default().data(data)), watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
