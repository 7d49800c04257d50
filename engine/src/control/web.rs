//! The page for who would rather look: one document without outside resources, on loopback, that reads the API from where
//! it came. It asks nobody who they are; only an undo takes the token.
//!
//! A browser brings in whoever it shows: pages of others may ask for what is on loopback, in their own name or, by an answer
//! of their DNS server, under a name of theirs that is 127.0.0.1 now. Hence Host must be a name or an address of loopback,
//! and nobody but the page itself may ask from within a browser.

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tracing::info;

use crate::config;
use crate::control::Engine;
use crate::control::api::{self, Json, Peer, Problem};
use crate::control::connections::{self, CONNECTIONS_MAX, Places, Refusals, in_time, shown, unauthorized};
use crate::control::decide::Control;
use crate::control::token::Token;
use crate::privileges;

/// All of it: words, looks and script.
const PAGE: &str = include_str!("web/page.html");

/// What the page may do (CSP Level 3): run the script and wear the looks that stand in it, and ask whence it came.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (script, style) = (hash("script"), hash("style"));
    format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
});

/// By this a browser knows what stands in the page's only element of this name (CSP Level 3 §2.3.1).
fn hash(name: &str) -> String {
    let inner = PAGE.split(&format!("<{name}>")).nth(1).and_then(|rest| rest.split(&format!("</{name}>")).next());
    format!("sha256-{}", BASE64.encode(Sha256::digest(inner.unwrap_or_default())))
}

/// Answer to `GET /v1/page`: where the page is from.
#[derive(Debug, Serialize)]
struct About {
    /// The host's name.
    host: String,
    /// The interface.
    iface: String,
    /// Of the engine.
    version: &'static str,
    /// Is there a token by which somebody can undo?
    token: bool,
}

/// What the page asks for, and the page. Whoever serves it lets only those in whom [`serve`] lets in.
pub(crate) fn router(control: Arc<Control>, engine: Arc<dyn Engine>, outside: Handle) -> Router {
    let about = {
        let engine = Arc::clone(&engine);
        async move || {
            let config = &engine.live().in_force().config;
            let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
            let token = !config.api.token_file.as_os_str().is_empty();
            Json(About { host, iface: config.iface.clone(), version: env!("CARGO_PKG_VERSION"), token })
        }
    };
    Router::new()
        .route("/", get(async || ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)))
        // every browser asks
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route("/v1/page", get(about))
        .merge(api::shown(control, engine, outside))
        .fallback(no_such_path)
        .method_not_allowed_fallback(bad_method)
}

/// Serves `router` as `page` says, with an undo for whoever shows the token in `token_file`, in the runtime `front` until
/// `stop` resolves; ends at once when it is dropped. The token is read where this runs.
pub(crate) async fn serve(
    page: config::Page,
    token_file: PathBuf,
    router: Router,
    front: Handle,
    stop: impl Future<Output = ()>,
) {
    let Some(address) = page.listen else { return };
    let door =
        Arc::new(Door { token_file, outside: Handle::current(), ip: address.ip(), refusals: Refusals::of("page") });
    let router = router.layer(from_fn_with_state(Arc::clone(&door), check)).layer(map_response(harden));
    let mut stop = pin!(stop);
    let hint = "page.listen: engines on one host need a port each";
    let listener = tokio::select! {
        () = &mut stop => return,
        listener = connections::listen(address, "the page", hint) => listener,
    };
    info!("page at http://{address}/ for everybody on this host");
    // all come from here
    let places = Places::new(CONNECTIONS_MAX);
    let admit = |ip| {
        let place = Places::take(&places, ip);
        if place.is_none() {
            door.refusals.complain(ip, "finds no place: all connections are taken");
        }
        place
    };
    connections::serve(listener, router, |_| Peer::Page, admit, &front, stop).await;
}

/// Who comes in.
#[derive(Debug)]
struct Door {
    token_file: PathBuf,
    /// The runtime that reads it.
    outside: Handle,
    /// Where the page is served.
    ip: IpAddr,
    refusals: Refusals,
}

/// Lets the page in, and no other page; an undo only with the token.
async fn check(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let allowed = is_for_loopback(request.uri(), request.headers())
        .and_then(|()| is_the_page_itself(request.headers()))
        .and_then(|()| is_for_everybody(request.uri()));
    if let Err(problem) = allowed {
        door.refusals.complain(door.ip, &format!("is refused: {}", problem.code));
        return problem.into_response();
    }
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return next.run(request.map(in_time)).await;
    }
    match unheard(&door, request.headers()).await {
        None => next.run(request.map(in_time)).await,
        Some(refusal) => refusal,
    }
}

fn refused(status: StatusCode, code: &'static str, error: impl Into<String>) -> Problem {
    Problem { status, code, error: error.into() }
}

/// Is Host one and of loopback, whatever the port? That differs behind `ssh -L`, and a name that leads elsewhere today is
/// none of these.
fn is_for_loopback(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    let is_loopback = |host: &Authority| {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        !host.as_str().contains('@')
            && (name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()))
    };
    // a proxy's form of request names the host once more
    let is_other = |host: &Authority| uri.authority().is_some_and(|named| named != host);
    match host {
        Some(host) if is_loopback(&host) && !is_other(&host) => Ok(()),
        _ => Err(refused(
            StatusCode::MISDIRECTED_REQUEST,
            "bad_host",
            "the page is here under a name of loopback only: open http://127.0.0.1:PORT/ with the port of page.listen, or \
             of your end of `ssh -L`",
        )),
    }
}

/// A browser says from where it is asked (Origin, RFC 6454 §7; Sec-Fetch-Site, W3C Fetch Metadata); other programs need not.
fn is_the_page_itself(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_own = |origin: &HeaderValue| {
        let origin = origin.as_bytes().split_at_checked("http://".len());
        origin.is_some_and(|(scheme, from)| scheme == b"http://" && from.eq_ignore_ascii_case(host))
    };
    let site = HeaderName::from_static("sec-fetch-site");
    let is_here = |site: &HeaderValue| site == "same-origin" || site == "none";
    let all = |name: HeaderName, is: &dyn Fn(&HeaderValue) -> bool| headers.get_all(name).iter().all(is);
    if all(header::ORIGIN, &is_own) && all(site, &is_here) {
        return Ok(());
    }
    let error = "only the page itself may ask here, no other page: open its address by hand or from a bookmark";
    Err(refused(StatusCode::FORBIDDEN, "other_origin", error))
}

/// Whole packets hold more than what everybody on this host may see.
fn is_for_everybody(uri: &Uri) -> Result<(), Problem> {
    if uri.path().starts_with("/v1/events") && uri.query().is_some() {
        let error =
            "events are here without parameters: `vosctl events --reason REASON` narrows them, and has the frames";
        return Err(refused(StatusCode::FORBIDDEN, "not_here", error));
    }
    Ok(())
}

/// Why who asks for a change is not heard; `None`: the token is shown. It is read each time: another in the file holds at
/// once.
async fn unheard(door: &Door, headers: &HeaderMap) -> Option<Response> {
    if door.token_file.as_os_str().is_empty() {
        let error = "nobody can undo here, since there is no token: write what `openssl rand -hex 32` prints into a file \
                     of mode 640, name it in token_file of [api], and reload; `vosctl undo` needs none";
        return Some(refused(StatusCode::FORBIDDEN, "no_token_file", error).into_response());
    }
    let path = door.token_file.clone();
    let token = match privileges::on_pool(&door.outside, move || Token::read(&path)).await {
        Ok(Ok(Ok(token))) => token,
        Ok(Ok(Err(error))) => {
            let error = format!("api.token_file: {error}");
            return Some(refused(StatusCode::FORBIDDEN, "bad_token_file", error).into_response());
        }
        // the runtime ends
        Ok(Err(_)) | Err(_) => return Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    };
    let shown = shown(headers);
    if shown.is_some_and(|shown| token.is(shown)) {
        return None;
    }
    door.refusals.complain(door.ip, if shown.is_some() { "shows a wrong token" } else { "shows no token" });
    Some(unauthorized(shown.is_some()))
}

/// What every answer says to browsers: no frames around it, no guesses about it, no copies and no traces of it.
async fn harden(mut response: Response) -> Response {
    let policy = HeaderValue::from_str(&POLICY).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn no_such_path() -> Problem {
    refused(
        StatusCode::NOT_FOUND,
        "no_such_path",
        "the page is at /; the whole API is on the unix socket, and where [api] says so",
    )
}

async fn bad_method() -> Problem {
    let error = "here is only looked, but for POST /v1/undo: vosctl changes the rest";
    refused(StatusCode::METHOD_NOT_ALLOWED, "bad_method", error)
}
