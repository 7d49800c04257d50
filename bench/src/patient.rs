//! What keeps a machine that stood still for a moment from failing a test of something else.

/// `vos.toml` under which no worker is taken for dead before it is silent for 10 s, the most that
/// `relay.heartbeat_timeout_ms` can be; by default 500 ms, after which packets rightly go elsewhere than a test says.
/// For tests in which no worker hangs: one that ended is known at once by its socket.
pub fn patient(toml: &str) -> String {
    const RELAY: &str = "[relay]\n";
    const PATIENT: &str = "[relay]\nheartbeat_timeout_ms = 10000\n";
    if toml.contains(RELAY) { toml.replacen(RELAY, PATIENT, 1) } else { format!("{toml}\n{PATIENT}") }
}
