use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::site::{CALLER, CALLER6, OTHER, OTHER6, PATIENCE};
pub(crate) use crate::site::{Site, server_of};

/// Who calls.
pub(crate) const CALLERS: [IpAddr; 4] =
    [IpAddr::V4(CALLER), IpAddr::V4(OTHER), IpAddr::V6(CALLER6), IpAddr::V6(OTHER6)];

/// Waits until `done`; panics with `what` if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, done: impl FnMut() -> bool) {
    crate::site::wait_until(what, PATIENCE, done);
}

/// The engine with this configuration before softswitches that are yet to come, and callers whom it trusts.
#[track_caller]
pub(crate) fn start(toml: &str) -> Site {
    start_where("true", toml)
}

/// The same, where the server's host is prepared by this command.
#[track_caller]
pub(crate) fn start_where(prepared: &str, toml: &str) -> Site {
    let site = Site::builder().prepare("ip link set lo up").prepare(prepared).config(toml).start();
    for caller in CALLERS {
        site.told(&["trust", &caller.to_string()]);
    }
    site
}

/// The configuration before one softswitch, which is dead when it is silent for 5 s.
pub(crate) fn before(softswitch: SocketAddr) -> String {
    format!(
        "[relay]\nto = \"proxy:{softswitch}\"\nfallback = \"drop\"\n[health]\ninterval = \"100ms\"\nfailures = 50\n"
    )
}

/// What `vosctl backend list` says of one.
#[track_caller]
pub(crate) fn shown(site: &Site, name: &str, what: &str) -> Value {
    let list = site.json(&["backend", "list"]);
    let mut backends = list["backends"].as_array().expect("a list").iter();
    backends.find(|backend| backend["name"] == name).map_or(Value::Null, |backend| backend[what].clone())
}

/// Waits until the engine finds this one alive, or dead.
#[track_caller]
pub(crate) fn is(site: &Site, name: &str, state: &str) {
    wait_until(&format!("{name} is {state}"), || shown(site, name, "state") == state);
}

/// What was for nobody, by its word.
#[track_caller]
pub(crate) fn strays(site: &Site, word: &str) -> u64 {
    let stats = site.stats().0;
    stats["proxy"]["strays"][word].as_u64().unwrap_or_else(|| panic!("no {word} in {stats}"))
}
