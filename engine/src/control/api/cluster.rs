use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::{Answer, Json, Problem, Shared};
use crate::cluster::wire::Status;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/cluster", get(status))
}

async fn status(State(shared): State<Shared>) -> Answer<Status> {
    let Some(cluster) = shared.engine.cluster() else {
        let error =
            "this engine is in no cluster: write amqp.url and cluster.log into vos.toml and restart it".to_owned();
        return Err(Problem { status: StatusCode::NOT_FOUND, code: "no_cluster", error });
    };
    Ok(Json(cluster.status().await))
}
