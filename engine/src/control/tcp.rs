//! The API over TCP: the same as on the unix socket, for the addresses that are named and who shows the token.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use ipnet::IpNet;
use tokio::runtime::Handle;
use tracing::{error, info};

use crate::config;
use crate::control::api::Peer;
use crate::control::connections::{self, CONNECTIONS_PER_ADDRESS, Places, Refusals, in_time, shown, unauthorized};
use crate::control::token::Token;

/// Serves `router` as `api` says, in the runtime `front`, until `stop` resolves; ends at once when it is dropped.
pub(crate) async fn serve(api: config::Api, router: Router, front: Handle, stop: impl Future<Output = ()>) {
    let Some(address) = api.listen else { return };
    let token = match Token::read(&api.token_file) {
        Ok(token) => token,
        Err(error) => return error!("the API is not served over TCP: api.token_file: {error}"),
    };
    let door = Arc::new(Door { token, refusals: Refusals::of("API over TCP") });
    let router = router.layer(from_fn_with_state(Arc::clone(&door), check));
    let mut stop = pin!(stop);
    let listener = tokio::select! {
        () = &mut stop => return,
        listener = connections::listen(address, "the API", "api.listen") => listener,
    };
    info!("API and /metrics at http://{address} for whoever shows the token");
    let places = Places::new(CONNECTIONS_PER_ADDRESS);
    let admit = |ip| {
        if !is_allowed(&api.allow, ip) {
            door.refusals.complain(ip, "is not in api.allow");
            return None;
        }
        let place = Places::take(&places, ip);
        if place.is_none() {
            door.refusals.complain(ip, "has too many connections, or all together have");
        }
        place
    };
    connections::serve(listener, router, Peer::Tcp, admit, &front, stop).await;
}

fn is_allowed(allow: &[IpNet], ip: IpAddr) -> bool {
    allow.iter().any(|net| net.contains(&ip))
}

/// Who comes in.
#[derive(Debug)]
struct Door {
    token: Token,
    refusals: Refusals,
}

/// Lets requests in that show the token, their bodies in good time.
async fn check(
    State(door): State<Arc<Door>>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<Peer>>,
    request: Request,
    next: Next,
) -> Response {
    match shown(request.headers()) {
        Some(shown) if door.token.is(shown) => next.run(request.map(in_time)).await,
        shown => {
            if let Peer::Tcp(ip) = peer {
                door.refusals.complain(ip, if shown.is_some() { "shows a wrong token" } else { "shows no token" });
            }
            unauthorized(shown.is_some())
        }
    }
}
