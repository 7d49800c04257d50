use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, Uri};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Peer, Problem, Shared, blocking, list, read, read_if_any};
use crate::control::address;
use crate::control::ask::{Ask, Done, End};
use crate::control::decision::Decision;
use crate::control::session::client_of;
use crate::control::wire::{Failure, Made, NewRule, OldRule, Removed, Rule};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list::list, decide, remove))
}

/// Takes a decision, in place of the one of its kind at this very prefix.
#[utoipa::path(
    post,
    path = "/v1/rules",
    request_body = NewRule,
    responses(
        (status = 200, description = "It is on disk and in force, beneath `now` if there is one", body = Made),
        (status = 409, description = "The guard refuses; `force` insists", body = Failure),
        (status = 507, description = "The kernel has no room for it", body = Failure),
    ),
)]
async fn decide(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Made> {
    let rule: NewRule = read(&body?)?;
    let net = address::parse(&rule.net)?;
    let end = match (rule.ttl_s, rule.until) {
        (None, None) => End::Never,
        (Some(ttl_s), None) => End::After(ttl_s),
        (None, Some(until)) => End::At(until),
        (Some(_), Some(_)) => return Err(Problem::bad_request("give ttl_s or until, not both")),
    };
    let mut by = peer.by(&headers, &shared.outside).await?;
    by.force = rule.force;
    by.operator = rule.ssh_connection.as_deref().and_then(client_of).or(by.operator);
    let ask = Ask::Put { net, kind: rule.kind, end, reason: rule.reason.unwrap_or_default().into() };
    let what = format!("{} {}", rule.kind, address::show(net));
    blocking(move || {
        let outcome = shared.control.submit(&by, vec![ask], Some(what));
        let view = |decision: &_| Rule::view(decision, shared.control.clock());
        let made = |rule: &Decision, replaced: Option<&Decision>, set| {
            let now = shared.control.applies(&net).filter(|now| now.key() != rule.key());
            Ok(Json(Made { rule: view(rule), replaced: replaced.map(view), now: now.as_ref().map(view), set }))
        };
        match outcome.results.into_iter().next() {
            Some(Ok(Done::Made { decision, replaced })) => made(&decision, replaced.as_ref(), outcome.set),
            Some(Ok(Done::Already(decision))) => made(&decision, Some(&decision), None),
            Some(Err(refusal)) => Err(refusal.into()),
            Some(Ok(Done::Removed { .. })) | None => Err(Problem::internal("a decision without an answer")),
        }
    })
    .await?
}

/// Takes a decision back. What it is about stands in the query or in the body, not in both.
#[utoipa::path(
    delete,
    path = "/v1/rules",
    params(
        ("net" = Option<String>, Query, description = "An address or CIDR"),
        ("kind" = Option<crate::control::decision::Kind>, Query, description = "Of which kind"),
    ),
    request_body = Option<OldRule>,
    responses(
        (status = 200, description = "It is no longer in force", body = Removed),
        (status = 404, description = "There is none, or one around it", body = Failure),
        (status = 409, description = "The guard refuses", body = Failure),
    ),
)]
async fn remove(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Removed> {
    let in_query = uri.query().is_some_and(|query| !query.is_empty());
    let rule: OldRule = match (read_if_any(&body?)?, in_query) {
        (Some(rule), false) => rule,
        (Some(_), true) => return Err(Problem::bad_request("there are a query and a body: say it in one of them")),
        (None, _) => Query::try_from_uri(&uri).map_err(|error| Problem::bad_request(error.body_text()))?.0,
    };
    let (net, kind) = (address::parse(&rule.net)?, rule.kind);
    let by = peer.by(&headers, &shared.outside).await?;
    let what = format!("{} {}", kind.undo(), address::show(net));
    blocking(move || {
        let outcome = shared.control.submit(&by, vec![Ask::Remove { net, kind }], Some(what));
        let view = |decision| Rule::view(decision, shared.control.clock());
        match outcome.results.into_iter().next() {
            Some(Ok(Done::Removed { removed, now })) => {
                Ok(Json(Removed { removed: view(&removed), now: now.as_ref().map(view), set: outcome.set }))
            }
            Some(Err(refusal)) => Err(refusal.into()),
            _ => Err(Problem::internal("a decision without an answer")),
        }
    })
    .await?
}
