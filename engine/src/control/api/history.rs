use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Peer, Problem, Shared, blocking, read};
use crate::control::session::client_of;
use crate::control::wire::{Failure, History, Left, Remembered, TOLD_MAX, Undo, Undone};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(history)).routes(routes!(undo))
}

/// What was done, and can be undone.
#[utoipa::path(
    get,
    path = "/v1/history",
    params(Remembered),
    responses((status = 200, description = "Oldest first", body = History)),
)]
pub(super) async fn history(
    State(shared): State<Shared>,
    query: Result<Query<Remembered>, QueryRejection>,
) -> Answer<History> {
    let Query(Remembered { limit }) = query.map_err(|rejection| {
        Problem::bad_request(format!("{}: the only parameter is limit, a number", rejection.body_text()))
    })?;
    blocking(move || {
        let mut sets = shared.control.history();
        let surplus = limit.map_or(0, |limit| sets.len().saturating_sub(limit as usize));
        sets.drain(..surplus);
        Json(History { sets })
    })
    .await
}

/// Takes a change back, all of it that nobody has changed since.
#[utoipa::path(
    post,
    path = "/v1/undo",
    request_body = Undo,
    responses(
        (status = 200, description = "What was taken back, and what was left and why", body = Undone),
        (status = 404, description = "There is no such change, or none at all", body = Failure),
        (status = 409, description = "It was undone already, or the guard refuses", body = Failure),
    ),
)]
pub(super) async fn undo(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Undone> {
    let Undo { number, force, ssh_connection } = read(&body?)?;
    let mut by = peer.by(&headers, &shared.outside).await?;
    by.force = force;
    by.operator = ssh_connection.as_deref().and_then(client_of).or(by.operator);
    blocking(move || {
        let undone = shared.control.undo(number, &by)?;
        let left_count = undone.left.len() as u64;
        let left = undone.left.into_iter().take(TOLD_MAX);
        let left = left.map(|(net, kind, why)| Left { net: net.to_string(), kind, why }).collect();
        Ok(Json(Undone { set: undone.set, by: undone.by, restored: undone.restored, left_count, left }))
    })
    .await?
}
