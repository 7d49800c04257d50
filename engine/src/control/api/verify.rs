//! Do disk, decisions and the kernel's maps agree?

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Shared, blocking, read_if_any};
use crate::control::wire::{NewVerify, Verified};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(verify))
}

/// Compares disk, decisions and the kernel's maps.
#[utoipa::path(
    post,
    path = "/v1/verify",
    request_body = Option<NewVerify>,
    responses((status = 200, description = "What differed, and whether it was repaired", body = Verified)),
)]
async fn verify(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Verified> {
    let NewVerify { repair } = read_if_any(&body?)?.unwrap_or_default();
    Ok(Json(blocking(move || shared.control.verify(repair)).await??))
}
