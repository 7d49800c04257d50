use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::LengthLimitError;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Json, Peer, Problem, Shared, blocking};
use crate::control::Control;
use crate::control::ask::{Ask, By, End, Refusal};
use crate::control::bulk::Fate;
use crate::control::decision::Kind;
use crate::control::session::client_of;
use crate::control::wire::{Failure, Import, Imported, TOLD_MAX, Untaken};
use crate::feed::lines::{self, FILE_MAX, Line, Takes};

/// Lists at once at one door, arriving or in work: each is in memory, up to [`FILE_MAX`] bytes of it. Fewer: clients that
/// send slowly shut others out. More: memory.
pub(super) const LISTS_MAX: usize = 4;
/// One list at a time in work: on the disk they would wait for each other anyway.
static ONE: Semaphore = Semaphore::const_new(1);
/// How long a body may take to arrive. Shorter: slow links cannot import. Longer: who stops in the middle keeps a place.
const BODY_PATIENCE: Duration = Duration::from_secs(120);
/// The longest name of an import that is kept, characters.
const NAME_MAX: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(import))
}

/// Takes the decisions of a list, all of them one change.
#[utoipa::path(
    post,
    path = "/v1/import",
    params(Import),
    request_body(content = String, content_type = "text/plain", description = "A line for each: ADDRESS [kind=K] [ttl=T]"),
    responses(
        (status = 200, description = "What came of each line", body = Imported),
        (status = 408, description = "The list did not arrive in time", body = Failure),
        (status = 409, description = "As many lists as there is room for are being taken", body = Failure),
    ),
)]
async fn import(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    query: Result<Query<Import>, QueryRejection>,
    request: Request,
) -> Answer<Imported> {
    let Query(import) = query.map_err(|rejection| {
        Problem::bad_request(format!(
            "{}: the parameters are name, ttl_s, reason, strict, dry_run, force and ssh_connection",
            rejection.body_text()
        ))
    })?;
    let end = import.ttl_s.map_or(End::Never, End::After);
    let place = Arc::clone(&shared.lists).try_acquire_owned().map_err(|_| busy())?;
    // who sends slowly keeps nobody waiting
    let body = body(request).await?;
    let one = ONE.acquire().await.map_err(|closed| Problem::internal(closed.to_string()))?;
    let mut by = peer.by(&headers, &shared.outside).await?;
    by.force = import.force;
    by.operator = import.ssh_connection.as_deref().and_then(client_of).or(by.operator);
    blocking(move || {
        // it goes on when the client hangs up
        let _until_it_is_done = (place, one);
        end.at(shared.control.clock())?;
        let list = List::read(&body, end, &import.reason.as_deref().unwrap_or_default().into());
        drop(body);
        Ok(Json(list.carry_out(&shared.control, &by, &import)))
    })
    .await?
}

fn busy() -> Problem {
    let error = format!("{LISTS_MAX} lists are being taken already: send this one again when one of them is done");
    Problem { status: StatusCode::CONFLICT, code: "busy", error }
}

async fn body(request: Request) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_PATIENCE, to_bytes(request.into_body(), FILE_MAX as usize)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.source().is_some_and(<dyn Error>::is::<LengthLimitError>) => {
            let error = format!("the list has more than {} MiB: split it", FILE_MAX >> 20);
            Err(Problem { status: StatusCode::PAYLOAD_TOO_LARGE, code: "too_large", error })
        }
        Ok(Err(error)) => Err(Problem::bad_request(format!("the list did not arrive: {error}"))),
        Err(_) => {
            let error = format!("the list did not arrive within {} s: send it faster", BODY_PATIENCE.as_secs());
            Err(Problem { status: StatusCode::REQUEST_TIMEOUT, code: "too_slow", error })
        }
    }
}

/// What a list asks for: what it trusts first, then what it allows, and what it blocks last, so that the guard measures
/// its blocks by its own exceptions, in whatever order they stand.
struct List {
    asks: Vec<Ask>,
    /// The line of each.
    numbers: Vec<usize>,
    report: Imported,
}

impl List {
    fn read(body: &[u8], end: End, reason: &Arc<str>) -> Self {
        let mut report = Imported::default();
        let mut places = HashMap::new();
        let mut found: Vec<Line> = Vec::new();
        for line in lines::read(body, Takes::Every) {
            report.lines += 1;
            match line {
                Ok(line) => match places.entry((line.net, line.kind)) {
                    // said twice, the last counts
                    Entry::Occupied(place) => {
                        report.repeated += 1;
                        found[*place.get()] = line;
                    }
                    Entry::Vacant(place) => {
                        place.insert(found.len());
                        found.push(line);
                    }
                },
                Err(bad) => {
                    report.bad += 1;
                    report.tell(bad.number, bad.what, false);
                }
            }
        }
        drop(places);
        let rank = |line: &Line| [Kind::Trust, Kind::Allow, Kind::Block].iter().position(|kind| *kind == line.kind);
        found.sort_by_key(rank);
        let numbers = found.iter().map(|line| line.number).collect();
        let ask = |Line { net, kind, end: own, reason: why, .. }: Line| {
            let reason = why.unwrap_or_else(|| Arc::clone(reason));
            Ask::Put { net, kind, end: own.unwrap_or(end), reason }
        };
        Self { asks: found.into_iter().map(ask).collect(), numbers, report }
    }

    fn carry_out(self, control: &Control, by: &By, import: &Import) -> Imported {
        let Self { asks, numbers, report } = self;
        let foreseen = (import.dry_run || import.strict).then(|| {
            let mut report = report.clone();
            control.foresee(by, &asks, |place, fate| report.count(numbers[place], fate));
            Imported { dry_run: true, ..report }
        });
        let mut report = match foreseen {
            Some(foreseen) if import.dry_run => return foreseen.sorted(),
            Some(foreseen) if foreseen.bad + foreseen.refused > 0 => return foreseen.sorted(),
            _ => report,
        };
        let name: String = import.name.as_deref().unwrap_or("a list").chars().take(NAME_MAX).collect();
        let set = control.submit_in_runs(by, asks, &format!("import {name}"), |place, fate| {
            report.count(numbers[place], fate);
        });
        Imported { set, ..report.sorted() }
    }
}

impl Imported {
    fn count(&mut self, line: usize, fate: Result<Fate, Refusal>) {
        match fate {
            Ok(Fate::Made) => self.made += 1,
            Ok(Fate::Replaced) => self.replaced += 1,
            Ok(Fate::Already | Fate::Removed) => self.already += 1,
            // an old export is no error
            Err(Refusal::Past { .. }) => self.ended += 1,
            Err(refusal) => {
                self.refused += 1;
                self.tell(line, refusal.to_string(), true);
            }
        }
    }

    fn tell(&mut self, line: usize, error: String, refused: bool) {
        if self.untaken.len() < TOLD_MAX {
            self.untaken.push(Untaken { line: line as u64, error, refused });
        }
    }

    fn sorted(mut self) -> Self {
        self.untaken.sort_by_key(|untaken| untaken.line);
        self
    }
}
