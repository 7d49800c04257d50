use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Problem, Shared, blocking, outside, read};
use crate::asker::answering;
use crate::control::clock::Clock;
use crate::control::wire::Failure;
use crate::detector;
use crate::live::wire::{Attack, Backends, Drain, Gateways, NewAttack, Reloaded, Status, Switch, Switched};
use crate::live::{ATTACK_DEFAULT, ChangeError};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(reload))
        .routes(routes!(switch))
        .routes(routes!(backends, drain))
        .routes(routes!(gateways))
        .routes(routes!(attacked, attack, calm))
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

/// What is in force.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, description = "At this moment", body = Status)))]
pub(super) async fn status(State(shared): State<Shared>) -> Answer<Status> {
    let status = move || {
        let engine = &shared.engine;
        let (peers, softswitch) = (engine.peers(), engine.softswitch());
        Json(Status { peers, softswitch, ..engine.live().status(engine.relaying()) })
    };
    blocking(status).await
}

/// Reads the configuration again.
#[utoipa::path(post, path = "/v1/reload", responses((status = 200, description = "It is in force", body = Reloaded)))]
async fn reload(State(shared): State<Shared>) -> Answer<Reloaded> {
    Ok(Json(outside(&shared.outside.clone(), move || shared.engine.live().reload()).await??))
}

/// Has a rule do something else until the next reload.
#[utoipa::path(
    put,
    path = "/v1/rule-modes",
    request_body = Switch,
    responses((status = 200, description = "It does", body = Switched)),
)]
async fn switch(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Switched> {
    let Switch { rule, mode } = read(&body?)?;
    // whoever follows it may ask the kernel for addresses
    Ok(Json(outside(&shared.outside.clone(), move || shared.engine.live().switch(&rule, mode)).await??))
}

/// The softswitches.
#[utoipa::path(get, path = "/v1/backends", responses((status = 200, description = "All of them", body = Backends)))]
async fn backends(State(shared): State<Shared>) -> Answer<Backends> {
    Ok(Json(blocking(move || Backends { backends: shared.engine.backends() }).await?))
}

/// Gives a softswitch no new calls, or again some, until the next reload.
#[utoipa::path(
    put,
    path = "/v1/backends",
    request_body = Drain,
    responses(
        (status = 200, description = "All of them", body = Backends),
        (status = 404, description = "There is none of this name", body = Failure),
    ),
)]
async fn drain(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Backends> {
    let Drain { name, drain } = read(&body?)?;
    outside(&shared.outside.clone(), move || {
        shared.engine.live().drain(&name, drain)?;
        Ok(Json(Backends { backends: shared.engine.backends() }))
    })
    .await?
}

/// Trunks, and their calls.
#[utoipa::path(get, path = "/v1/gateways", responses((status = 200, description = "All of them", body = Gateways)))]
async fn gateways(State(shared): State<Shared>) -> Answer<Gateways> {
    let of = move || {
        let gateways = &shared.engine.live().in_force().ruleset.gateways;
        let mut views = gateways.views(Clock::now().mono_ns());
        if let Some(online) = shared.engine.online() {
            views.iter_mut().for_each(|view| (view.asked, view.online) = answering(&view.from, view.port, online));
        }
        Json(Gateways { gateways: views, evicted: gateways.evicted() })
    };
    blocking(of).await
}

/// Is it an attack, what is seen and what is usual?
#[utoipa::path(get, path = "/v1/attack", responses((status = 200, description = "How it stands", body = detector::View)))]
pub(super) async fn attacked(State(shared): State<Shared>) -> Answer<detector::View> {
    blocking(move || Json(shared.engine.attack())).await
}

/// Switches attack mode on, for a time.
#[utoipa::path(
    put,
    path = "/v1/attack",
    request_body = NewAttack,
    responses((status = 200, description = "It is on", body = Attack)),
)]
async fn attack(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Answer<Attack> {
    let NewAttack { ttl_s } = read(&body?)?;
    let ttl = ttl_s.map_or(ATTACK_DEFAULT, Duration::from_secs);
    let left_s = blocking(move || shared.engine.live().attack(Some(ttl))).await??;
    Ok(Json(Attack { left_s }))
}

/// Switches attack mode off.
#[utoipa::path(delete, path = "/v1/attack", responses((status = 200, description = "It is off", body = Attack)))]
async fn calm(State(shared): State<Shared>) -> Answer<Attack> {
    let left_s = blocking(move || shared.engine.live().attack(None)).await??;
    Ok(Json(Attack { left_s }))
}
