//! Do disk, decisions and the kernel's maps agree?

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::routing::post;

use super::{Answer, Json, Shared, blocking, read};
use crate::control::wire::{NewVerify, Verified};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/v1/verify", post(verify))
}

async fn verify(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Verified> {
    let body = body?;
    let NewVerify { repair } = if body.is_empty() { NewVerify::default() } else { read(&body)? };
    Ok(Json(blocking(move || shared.control.verify(repair)).await??))
}
