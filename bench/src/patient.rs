//! What keeps a machine that stood still for a moment from failing a test of something else.

/// `vos.toml` under which nothing but an operator switches attack mode on: what is measured and shown are single limits.
pub const QUIET: &str = "[attack]\ndetect = false\n";

/// `vos.toml` under which no worker is taken for dead before it is silent for 10 s, the most that
/// `relay.heartbeat_timeout_ms` can be; by default 500 ms, after which packets rightly go elsewhere than a test says.
/// For tests in which no worker hangs: one that ended is known at once by its socket. And under which no flood of a test's
/// is taken for an attack, unless `toml` has an `[attack]` of its own.
pub fn patient(toml: &str) -> String {
    const RELAY: &str = "[relay]\n";
    const PATIENT: &str = "[relay]\nheartbeat_timeout_ms = 10000\n";
    let quiet = if toml.contains("[attack]") { "" } else { QUIET };
    let toml = if toml.contains(RELAY) { toml.replacen(RELAY, PATIENT, 1) } else { format!("{toml}\n{PATIENT}") };
    toml + quiet
}
