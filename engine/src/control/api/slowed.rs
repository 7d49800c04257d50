use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Problem, Shared, blocking, read};
use crate::control::wire::{Failure, Lift, SlowedList};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(slowed, hurry))
}

/// Who is slowed for asking for what is not there, those that end first in front.
#[utoipa::path(
    get,
    path = "/v1/slowed",
    responses((status = 200, description = "All of them", body = SlowedList)),
)]
async fn slowed(State(shared): State<Shared>) -> Answer<SlowedList> {
    blocking(move || Json(SlowedList { slowed: shared.engine.slowed() })).await
}

/// Slows them no longer; what they ask for is counted anew.
#[utoipa::path(
    delete,
    path = "/v1/slowed",
    request_body = Lift,
    responses(
        (status = 200, description = "Those that were", body = SlowedList),
        (status = 404, description = "Nobody with this address is slowed", body = Failure),
    ),
)]
async fn hurry(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<SlowedList> {
    let Lift { whom, all } = read(&body?)?;
    if whom.is_some() == all {
        return Err(Problem::bad_request("give whom, or all as true: one of the two"));
    }
    blocking(move || {
        let slowed = shared.engine.hurry(whom.as_deref());
        match whom.filter(|_| slowed.is_empty()) {
            None => Ok(Json(SlowedList { slowed })),
            Some(whom) => {
                let error = format!("{whom} is not slowed: `vosctl slowed list` shows who is");
                Err(Problem { status: StatusCode::NOT_FOUND, code: "not_slowed", error })
            }
        }
    })
    .await?
}
