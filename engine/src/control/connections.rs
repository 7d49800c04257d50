//! Connections over TCP: who gets a place, and how long anything may take.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::warn;

use crate::control::api::{Peer, Problem};

/// Connections at once, those that follow events among them. Fewer: dashboards shut each other out. More: only memory,
/// some 40 KiB each.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// Connections at once from one address: a quarter, so that no client takes the places of all others.
pub(crate) const CONNECTIONS_PER_ADDRESS: usize = CONNECTIONS_MAX / 4;
/// How long the header of a request may take, from the connection or the request before. Shorter: a client on a slow line
/// is cut off, or one that keeps its connection. Longer: those that say nothing keep their places.
const HEADER_PATIENCE: Duration = Duration::from_secs(20);
/// How long the body of a request may take: as long as that of an import.
const BODY_PATIENCE: Duration = Duration::from_secs(120);
/// How long a client may take nothing of what is sent to it: then it is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a stop waits for requests in progress.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is tried to listen.
const RETRY: Duration = Duration::from_secs(1);
/// How often the log says how many were turned away.
const COMPLAINT: Duration = Duration::from_secs(10);
/// Bytes of a request's header: the token, and what proxies add.
const HEADER_MAX: usize = 16 * 1024;

/// Serves everybody whom `admit` gives a place, as the peer that `peer` takes them for, until `stop` resolves. What they say is
/// read and answered in the runtime `front`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    peer: impl Fn(IpAddr) -> Peer,
    admit: impl Fn(IpAddr) -> Option<Place>,
    front: &Handle,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) {
    let (mut connections, graceful) = (JoinSet::new(), GracefulShutdown::new());
    loop {
        let (stream, from) = tokio::select! {
            () = &mut stop => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // no descriptors left, or the connection was gone already
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let ip = from.ip().to_canonical();
        let Some(place) = admit(ip) else { continue };
        prepare(&stream);
        let Ok(stream) = moved(stream, front) else { continue };
        let router = router.clone().layer(Extension(ConnectInfo(peer(ip))));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_PATIENCE)
            .max_buf_size(HEADER_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let connection = graceful.watch(connection);
        let served = async move {
            let _the_client_knows = connection.await;
            drop(place);
        };
        connections.spawn_on(served, front);
    }
    drop(listener);
    let _those_that_go_on_are_cut = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

/// From the runtime that accepted it to this one.
fn moved(stream: TcpStream, to: &Handle) -> io::Result<TcpStream> {
    let stream = stream.into_std()?;
    let _in_there = to.enter();
    TcpStream::from_std(stream)
}

/// Listens as soon as the address is there and free; until then the log says that `what` cannot, and with `hint` what to do.
pub(super) async fn listen(address: SocketAddr, what: &str, hint: &str) -> TcpListener {
    let mut told = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                let kind = error.kind();
                if told.replace(kind) != Some(kind) {
                    warn!("{what} cannot listen at {address}: {error}; trying again every second ({hint})");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// A client that is gone without a word does not keep its place.
fn prepare(stream: &TcpStream) {
    let set = stream.set_nodelay(true).and_then(|()| {
        let socket = SockRef::from(stream);
        socket.set_keepalive(true)?;
        socket.set_tcp_user_timeout(Some(WRITE_PATIENCE))
    });
    let _it_works_without: io::Result<()> = set;
}

/// Who is connected.
#[derive(Debug)]
pub(super) struct Places {
    taken: Mutex<HashMap<IpAddr, usize>>,
    /// How many one address may have.
    each: usize,
}

/// One connection's place; free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    ip: IpAddr,
}

impl Places {
    /// Room for [`CONNECTIONS_MAX`], `each` of them from one address.
    pub(super) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), each })
    }

    /// A place for who comes from `ip`, if there is one.
    pub(super) fn take(places: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&ip).copied().unwrap_or_default();
        if all >= CONNECTIONS_MAX || own >= places.each {
            return None;
        }
        taken.insert(ip, own + 1);
        Some(Place { places: Arc::clone(places), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.ip) {
            *own -= 1;
        }
        taken.retain(|_, own| *own > 0);
    }
}

/// Those who were turned away, for the log.
#[derive(Debug)]
pub(super) struct Refusals {
    what: &'static str,
    /// Since when so many were turned away.
    refused: Mutex<Option<(Instant, u64)>>,
}

impl Refusals {
    /// Nobody yet; `what` is how the log calls what they came to.
    pub(super) fn of(what: &'static str) -> Self {
        Self { what, refused: Mutex::default() }
    }

    /// Says that somebody is turned away: the first at once, those that follow together.
    pub(super) fn complain(&self, ip: IpAddr, why: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *refused {
            Some((since, count)) if since.elapsed() < COMPLAINT => *count += 1,
            before => {
                let more = before.map_or(0, |(_, count)| count);
                *before = Some((Instant::now(), 0));
                warn!("{}: {ip} {why}; {more} others were turned away since this was said last", self.what);
            }
        }
    }
}

/// The token that is shown: that of `Bearer TOKEN` (RFC 6750 §2.1; the scheme's case is ignored, RFC 9110 §11.1).
pub(super) fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Whoever shows no token, or a wrong one (RFC 6750 §3).
pub(super) fn unauthorized(wrong: bool) -> Response {
    let error = "show the token of api.token_file: Authorization: Bearer TOKEN".to_owned();
    let problem = Problem { status: StatusCode::UNAUTHORIZED, code: "unauthorized", error };
    let challenge = match wrong {
        true => "Bearer realm=\"vos\", error=\"invalid_token\"",
        false => "Bearer realm=\"vos\"",
    };
    ([(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))], problem).into_response()
}

/// The body, or an error when it has not come in good time.
pub(super) fn in_time(body: Body) -> Body {
    let deadline = tokio::time::Instant::now() + BODY_PATIENCE;
    let late = || axum::Error::new(io::Error::new(io::ErrorKind::TimedOut, "the body does not come"));
    Body::from_stream(stream::unfold(Some(body.into_data_stream()), move |left| async move {
        let mut left = left?;
        match tokio::time::timeout_at(deadline, left.next()).await {
            Ok(Some(part)) => Some((part, Some(left))),
            Ok(None) => None,
            Err(_) => Some((Err(late()), None)),
        }
    }))
}
