use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Problem, Shared};
use crate::cluster::wire::Status;
use crate::control::wire::Failure;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(cluster))
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
    let Some(cluster) = shared.engine.cluster() else {
        let error =
            "this engine is in no cluster: write amqp.url and cluster.log into vos.toml and restart it".to_owned();
        return Err(Problem { status: StatusCode::NOT_FOUND, code: "no_cluster", error });
    };
    Ok(Json(cluster.status().await))
}
