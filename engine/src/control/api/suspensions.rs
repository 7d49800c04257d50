use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Problem, Shared, blocking, outside, read};
use crate::control::wire::{Failure, Lift, Suspensions};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(suspensions, lift))
}

/// Who is suspended, those that end first in front.
#[utoipa::path(
    get,
    path = "/v1/suspensions",
    responses((status = 200, description = "All of them", body = Suspensions)),
)]
async fn suspensions(State(shared): State<Shared>) -> Answer<Suspensions> {
    blocking(move || Json(Suspensions { suspensions: shared.engine.suspensions() })).await
}

/// Ends suspensions before their time; failures are counted anew.
#[utoipa::path(
    delete,
    path = "/v1/suspensions",
    request_body = Lift,
    responses(
        (status = 200, description = "Those that were", body = Suspensions),
        (status = 404, description = "Nobody who is called so is suspended", body = Failure),
    ),
)]
async fn lift(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Suspensions> {
    let Lift { whom, all } = read(&body?)?;
    if whom.is_some() == all {
        return Err(Problem::bad_request("give whom, or all as true: one of the two"));
    }
    outside(&shared.outside.clone(), move || {
        let suspensions = shared.engine.lift(whom.as_deref()).map_err(|error| Problem {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "store",
            error: format!(
                "lifted, but that cannot be written down ({error}): make room in control.state_dir, else they are \
                 suspended again after a restart"
            ),
        })?;
        match whom.filter(|_| suspensions.is_empty()) {
            None => Ok(Json(Suspensions { suspensions })),
            Some(whom) => {
                let error = format!("nobody who is called {whom} is suspended: `vosctl suspensions list` shows who is");
                Err(Problem { status: StatusCode::NOT_FOUND, code: "no_such_suspension", error })
            }
        }
    })
    .await?
}
