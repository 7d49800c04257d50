//! The other end of the stream of events.

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;

use crate::control::client::{Client, ClientError, PATIENCE};
use crate::control::wire::RecentEvents;
use crate::events::Wanted;

/// The longest event taken, bytes. A frame of 2 KB in base64 and everything around it is under 8.
const LINE_MAX: usize = 64 * 1024;

fn target(path: &str, wanted: &Wanted) -> String {
    let reason = wanted.reason.as_deref().map(|reason| format!("&reason={}", percent(reason))).unwrap_or_default();
    format!("{path}?frames={}{reason}", u8::from(wanted.frames))
}

/// Whatever somebody typed as part of a URL.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl Client {
    /// What happened last.
    pub async fn recent(&self, wanted: &Wanted) -> Result<RecentEvents, ClientError> {
        self.call(Method::GET, &target("/v1/events/recent", wanted), None::<&()>).await
    }

    /// What happens from now on.
    pub async fn follow(&self, wanted: &Wanted) -> Result<Following, ClientError> {
        let target = target("/v1/events", wanted);
        let asked = self.send(Method::GET, &target, None::<&()>);
        let response = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(response) => response?,
            Err(_) => return Err(self.broken(format!("no answer for {} s", PATIENCE.as_secs()))),
        };
        Ok(Following { client: self.clone(), body: response.into_body(), lines: Lines::default() })
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Following {
    client: Client,
    body: Incoming,
    lines: Lines,
}

impl Following {
    /// The next event, an [`Event`](crate::events::Event) or of a kind that a newer engine knows; `None` when the engine
    /// has stopped. May be given up and asked again: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            while let Some(line) = self.lines.next().map_err(|what| self.client.broken(what))? {
                // Comments keep the connection, empty lines part events; an event of ours is one line.
                if let Some(data) = line.strip_prefix(b"data:") {
                    let event = serde_json::from_slice(data);
                    return event.map(Some).map_err(|error| self.client.broken(format!("not an event: {error}")));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(|error| self.client.broken(error.to_string()))?;
                    self.lines.0.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
                }
            }
        }
    }
}

/// Bytes that become lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Some(end) = self.0.iter().position(|byte| *byte == b'\n') else {
            let fits = self.0.len() <= LINE_MAX;
            return if fits { Ok(None) } else { Err(format!("a line of more than {LINE_MAX} bytes")) };
        };
        let mut line: Vec<u8> = self.0.drain(..=end).collect();
        line.truncate(end);
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let (mut lines, mut got) = (Lines::default(), Vec::new());
        for byte in b"data: {}\n\n: \ndata:1\n" {
            lines.0.push(*byte);
            got.extend(lines.next().expect("short"));
        }
        assert_eq!(got, [&b"data: {}"[..], b"", b": ", b"data:1"]);
        lines.0.resize(LINE_MAX + 1, b'x');
        assert!(lines.next().is_err());
    }

    #[test]
    fn what_somebody_types_stays_one_parameter() {
        let wanted = Wanted { reason: Some("a&frames=1 é".into()), frames: false };
        assert_eq!(target("/v1/events", &wanted), "/v1/events?frames=0&reason=a%26frames%3D1%20%C3%A9");
    }
}
