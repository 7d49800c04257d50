use serde_json::Value;
use vos_engine::control::terminal::printable;

/// The softswitch's sockets, while one is behind or has lost something.
pub(crate) fn pressure_lines(stats: &Value) -> Vec<String> {
    let sockets = stats.pointer("/pressure/sockets").and_then(Value::as_array).into_iter().flatten();
    let line = |socket: &Value| {
        let number = |key: &str| socket.get(key).and_then(Value::as_u64).unwrap_or_default();
        let pressed = socket.get("pressed").and_then(Value::as_bool) == Some(true);
        let local = printable(socket.get("local")?.as_str()?).into_owned();
        let (queued, buffer, dropped) = (number("queued"), number("buffer"), number("dropped"));
        let is = if pressed { "is behind" } else { "keeps up" };
        let told = pressed || dropped > 0;
        told.then(|| format!("softswitch at {local} {is}: {queued} of {buffer} bytes wait; {dropped} lost there, ever"))
    };
    let mut lines: Vec<String> = sockets.filter_map(line).collect();
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

/// What a worker has given up, by class, and what waits for room.
pub(crate) fn given_up_line(worker: &Value) -> Option<String> {
    let table = worker.get("given_up").and_then(Value::as_object)?;
    let counts = table.iter().filter_map(|(class, count)| Some((class, count.as_u64().filter(|count| *count > 0)?)));
    let mut parts: Vec<String> = counts.map(|(class, count)| format!("{count} {}", printable(class))).collect();
    parts.sort();
    let waiting = worker.get("waiting").and_then(Value::as_u64).unwrap_or_default();
    if parts.is_empty() && waiting == 0 {
        return None;
    }
    let given_up = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    Some(format!("         given up: {given_up}; {waiting} wait for room"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_behind_is_told_and_what_is_not_is_not() {
        let socket = |queued, dropped, pressed| json!({ "local": "192.0.2.1:5060", "queued": queued, "buffer": 100, "dropped": dropped, "pressed": pressed });
        let lines = |sockets: Value| pressure_lines(&json!({ "pressure": { "now": true, "sockets": sockets } }));
        assert_eq!(lines(json!([socket(10, 0, false)])), [""; 0]);
        let expected = ["", "softswitch at 192.0.2.1:5060 is behind: 60 of 100 bytes wait; 0 lost there, ever"];
        assert_eq!(lines(json!([socket(10, 0, false), socket(60, 0, true)])), expected);
        assert!(lines(json!([socket(1, 3, false)]))[1].ends_with("keeps up: 1 of 100 bytes wait; 3 lost there, ever"));
        assert!(pressure_lines(&json!({})).is_empty());
    }

    #[test]
    fn what_was_given_up_is_told_by_class() {
        let worker = json!({ "given_up": { "register": 12, "invite": 3, "other": 0 }, "waiting": 2 });
        let expected = "         given up: 12 register, 3 invite; 2 wait for room";
        assert_eq!(given_up_line(&worker).as_deref(), Some(expected));
        assert_eq!(given_up_line(&json!({ "given_up": { "register": 0 }, "waiting": 0 })), None);
        assert_eq!(given_up_line(&json!({})), None);
    }
}
