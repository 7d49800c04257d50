use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Problem, Shared, blocking};
use crate::control::wire::{Registered, Registrations};
use crate::policy::{Page, Sought};

/// Most bindings in one answer: some 2 MB.
const PAGE_MAX: usize = 10_000;
/// As many are given to who does not say how many.
const PAGE: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(registrations))
}

fn bad(what: &str) -> Problem {
    Problem::bad_request(format!(
        "{what}: the parameters are whom (an address-of-record, its user, or an address), offline (true or false), limit (1 to \
         {PAGE_MAX}) and skip"
    ))
}

/// Who is registered, by address-of-record.
#[utoipa::path(
    get,
    path = "/v1/registrations",
    params(Registered),
    responses((status = 200, description = "A page of them", body = Registrations)),
)]
async fn registrations(
    State(shared): State<Shared>,
    query: Result<Query<Registered>, QueryRejection>,
) -> Answer<Registrations> {
    let Query(Registered { whom, offline, limit, skip }) = query.map_err(|rejection| bad(&rejection.body_text()))?;
    let (limit, skip) = (limit.unwrap_or(PAGE), skip.unwrap_or(0));
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad(&format!("limit={limit}")));
    }
    let sought = Sought { whom, offline };
    blocking(move || {
        let Page { bindings, total } = shared.engine.registrations(&sought, skip, limit);
        Json(Registrations { registrations: bindings, total })
    })
    .await
}
