use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use super::{Answer, Json, Problem, Shared, blocking};
use crate::control::address;
use crate::control::decide::{Control, Filter};
use crate::control::decision::Key;
use crate::control::wire::{Listing, Rule, Rules};

/// Most decisions in one answer: some 2.5 MB. More: memory for whoever asks. Fewer: a million are more requests.
const PAGE_MAX: usize = 10_000;

fn bad(what: &str) -> Problem {
    Problem::bad_request(format!(
        "{what}: the parameters are kind (trust, block or allow), covering (an address or CIDR), origin (cli, api, file, \
         amqp, datagram, detector, config or cluster), node (a name), since and before (unix seconds), limit (1 to {PAGE_MAX}) \
         and after (`next` of the page before)"
    ))
}

/// The decisions, by address: those in force, and those that this node holds back.
#[utoipa::path(
    get,
    path = "/v1/rules",
    params(Listing),
    responses((status = 200, description = "A page of them", body = Rules)),
)]
pub(super) async fn list(State(shared): State<Shared>, query: Result<Query<Listing>, QueryRejection>) -> Answer<Rules> {
    let Query(listing) = query.map_err(|rejection| bad(&rejection.body_text()))?;
    let limit = listing.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(bad(&format!("limit={limit}")));
    }
    let after = listing.after.as_deref().map(|after| cursor(after).ok_or_else(|| bad(&format!("after={after}"))));
    let after = after.transpose()?;
    blocking(move || {
        let (control, clock) = (&shared.control, shared.control.clock());
        let filter = filter(&listing, control)?;
        let page = control.page(&filter, after, limit);
        let applies = filter.covering.and_then(|net| control.applies(&net));
        Ok(Json(Rules {
            rules: page.listed.iter().map(|listed| Rule::listed(listed, clock)).collect(),
            next: page.next.map(|(net, kind)| format!("{net},{kind}")),
            applies: applies.map(|decision| Rule::view(&decision, clock)),
            this_node: control.node().to_string(),
        }))
    })
    .await?
}

fn filter(listing: &Listing, control: &Control) -> Result<Filter, Problem> {
    let Listing { kind, covering, origin, node, since, before, limit: _, after: _ } = listing;
    let mut filter = Filter { kind: *kind, node: node.clone(), since: *since, before: *before, ..Filter::default() };
    filter.covering = covering.as_deref().map(address::parse).transpose()?;
    match origin.as_deref() {
        None => {}
        Some("cluster") => filter.elsewhere = Some(control.node()),
        Some(word) => filter.origin = Some(word.parse().map_err(|_| bad(&format!("origin={word}")))?),
    }
    Ok(filter)
}

/// What [`Rules::next`] says.
fn cursor(text: &str) -> Option<Key> {
    let (net, kind) = text.split_once(',')?;
    Some((net.parse().ok()?, kind.parse().ok()?))
}
