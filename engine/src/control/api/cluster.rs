use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Problem, Shared, read};
use crate::cluster::wire::{Forgotten, OldNode, Status};
use crate::cluster::{Cluster, ForgetError};
use crate::control::wire::Failure;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(cluster, forget))
}

/// How all nodes of the cluster are, as this one knows.
#[utoipa::path(
    get,
    path = "/v1/cluster",
    responses(
        (status = 200, description = "All nodes", body = Status),
        (status = 404, description = "This engine is in no cluster", body = Failure),
    ),
)]
async fn cluster(State(shared): State<Shared>) -> Answer<Status> {
    Ok(Json(member(&shared)?.status().await))
}

/// Has all nodes forget one that is no longer there.
#[utoipa::path(
    delete,
    path = "/v1/cluster",
    request_body = OldNode,
    responses(
        (status = 200, description = "It is forgotten", body = Forgotten),
        (status = 404, description = "This engine is in no cluster, or the log has told of no such node", body = Failure),
        (status = 409, description = "It is there", body = Failure),
        (status = 503, description = "The log cannot be written now", body = Failure),
    ),
)]
async fn forget(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Forgotten> {
    let cluster = member(&shared)?;
    let OldNode { node } = read(&body?)?;
    cluster.forget(&node).await?;
    Ok(Json(Forgotten { node }))
}

fn member(shared: &Shared) -> Result<Arc<Cluster>, Problem> {
    shared.engine.cluster().ok_or_else(|| {
        let error =
            "this engine is in no cluster: write amqp.url and cluster.log into vos.toml and restart it".to_owned();
        Problem { status: StatusCode::NOT_FOUND, code: "no_cluster", error }
    })
}

impl From<ForgetError> for Problem {
    fn from(error: ForgetError) -> Self {
        let (status, code) = match &error {
            ForgetError::NoSuchNode(_) => (StatusCode::NOT_FOUND, "no_such_node"),
            ForgetError::IsThere(_) => (StatusCode::CONFLICT, "node_is_there"),
            ForgetError::NotConnected | ForgetError::Log(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_log"),
        };
        Self { status, code, error: error.to_string() }
    }
}
