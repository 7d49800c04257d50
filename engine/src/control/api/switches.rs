use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::routing::{get, post, put};

use super::{Answer, Json, Problem, Shared, blocking, read};
use crate::live::wire::{Attack, Backends, Drain, NewAttack, Reloaded, Status, Switch, Switched};
use crate::live::{ATTACK_DEFAULT, ChangeError};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/rule-modes", put(switch))
        .route("/v1/backends", get(backends).put(drain))
        .route("/v1/attack", put(attack).delete(calm))
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let (status, code) = match &error {
            ChangeError::Config(_) => (StatusCode::BAD_REQUEST, "bad_config"),
            ChangeError::NoSuchRule { .. } => (StatusCode::BAD_REQUEST, "bad_rule"),
            ChangeError::NoSuchBackend { .. } => (StatusCode::NOT_FOUND, "no_such_backend"),
            ChangeError::Ttl => (StatusCode::BAD_REQUEST, "bad_ttl"),
            ChangeError::Kernel(_) => (StatusCode::INTERNAL_SERVER_ERROR, "maps"),
        };
        Self { status, code, error: error.to_string() }
    }
}

async fn status(State(shared): State<Shared>) -> Answer<Status> {
    let status = move || {
        let engine = &shared.engine;
        let (peers, softswitch) = (engine.peers(), engine.softswitch());
        Json(Status { peers, softswitch, ..engine.live().status(engine.relaying()) })
    };
    blocking(status).await
}

async fn reload(State(shared): State<Shared>) -> Answer<Reloaded> {
    Ok(Json(blocking(move || shared.engine.live().reload()).await??))
}

async fn switch(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Switched> {
    let Switch { rule, mode } = read(&body?)?;
    Ok(Json(blocking(move || shared.engine.live().switch(&rule, mode)).await??))
}

async fn backends(State(shared): State<Shared>) -> Answer<Backends> {
    Ok(Json(blocking(move || Backends { backends: shared.engine.backends() }).await?))
}

async fn drain(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Backends> {
    let Drain { name, drain } = read(&body?)?;
    blocking(move || {
        shared.engine.live().drain(&name, drain)?;
        Ok(Json(Backends { backends: shared.engine.backends() }))
    })
    .await?
}

async fn attack(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Attack> {
    let NewAttack { ttl_s } = read(&body?)?;
    let ttl = ttl_s.map_or(ATTACK_DEFAULT, Duration::from_secs);
    let left_s = blocking(move || shared.engine.live().attack(Some(ttl))).await??;
    Ok(Json(Attack { left_s }))
}

async fn calm(State(shared): State<Shared>) -> Answer<Attack> {
    let left_s = blocking(move || shared.engine.live().attack(None)).await??;
    Ok(Json(Attack { left_s }))
}
