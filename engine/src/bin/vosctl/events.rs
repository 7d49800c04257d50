//! `vosctl events` and `vosctl capture`: what happens, and the packets that were dropped.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use vos_common::reason::Reason;
use vos_engine::control::client::Client;
use vos_engine::control::follow::Following;
use vos_engine::control::terminal::{printable, printable_json};
use vos_engine::detector::Transition;
use vos_engine::events::{
    Change, Decoy, Dropped, EndpointChange, Enumeration, Event, GatewayChange, GatewayState, Offender, PeerChange,
    Pressure, RegistrationChange, RegistrationMove, RuleChange, SoftswitchChange, SoftswitchState, Suspended,
    SuspensionChange, Wanted, What,
};
use vos_engine::pcap::Writer;
use vos_engine::policy::EndpointState;

use crate::Cli;
use crate::answer::{Failure, bare, date};
use crate::suspensions;

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Go on with what happens from now on, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Only packets dropped for this reason.
    #[arg(long, value_parser = parse_reason)]
    reason: Option<&'static str>,
}

#[derive(Args, Debug)]
pub(crate) struct CaptureArgs {
    /// Write to this file; - is standard output, as in `vosctl capture -w - | wireshark -k -i -`.
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// Only packets dropped for this reason.
    #[arg(long, value_parser = parse_reason)]
    reason: Option<&'static str>,
    /// End after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: 90s, 1h.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

fn parse_reason(label: &str) -> Result<&'static str, String> {
    let dropped = |reason: &&Reason| reason.is_rule() || !reason.in_kernel();
    let labels = || Reason::ALL.iter().filter(dropped).map(|reason| reason.label());
    labels()
        .find(|known| *known == label)
        .ok_or_else(|| format!("there is {}", labels().collect::<Vec<_>>().join(", ")))
}

/// Shows the last events and ends, or follows.
pub(crate) async fn events(client: &Client, cli: &Cli, args: &EventsArgs) -> Result<u8, Failure> {
    let wanted = Wanted { reason: args.reason.map(str::to_owned), frames: false };
    if args.follow {
        let mut following = client.follow(&wanted).await?;
        while let Some(event) = following.next().await? {
            show(&event, cli.json)?;
        }
        return Ok(stopped());
    }
    let recent = client.recent(&wanted).await?.events;
    for event in &recent {
        show(&serde_json::to_value(event).map_err(io::Error::from)?, cli.json)?;
    }
    if recent.is_empty() && !cli.json {
        eprintln!("vosctl: nothing has happened yet; -f waits for it");
    }
    Ok(0)
}

/// The engine has ended the stream.
pub(crate) fn stopped() -> u8 {
    eprintln!("vosctl: vos-engine has stopped; the filter stays in force");
    3
}

fn show(event: &Value, as_json: bool) -> io::Result<()> {
    let known = (!as_json).then(|| serde_json::from_value::<Event>(event.clone()).ok()).flatten();
    // one a line; what a newer engine tells is shown as it is
    let line = known.map_or_else(|| printable_json(&event.to_string()).into_owned(), |event| line(&event));
    writeln!(io::stdout(), "{line}")
}

fn line(event: &Event) -> String {
    let time = Duration::try_from_secs_f64(event.time).unwrap_or_default();
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + time);
    let what = match &event.what {
        What::Drop(dropped) => dropped_line(dropped),
        What::Rule(change) => rule_line(change),
        What::Pressure(change) => pressure_line(change),
        What::Softswitch(change) => softswitch_line(change),
        What::Peer(change) => peer_line(change),
        What::Decoy(decoy) => decoy_line(decoy),
        What::Suspension(suspended) => suspension_line(suspended),
        What::Gateway(change) => gateway_line(change),
        What::Attack(transition) => attack_line(transition),
        What::Enumeration(enumeration) => enumeration_line(enumeration),
        What::Offender(offender) => offender_line(offender),
        What::Registration(change) => registration_line(change),
        What::Endpoint(change) => endpoint_line(change),
        What::Lost { events } => format!("{events} events lost: this reader is too slow for them"),
        // Kinds that others add have a line here when they are shown.
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    format!("{time}  {}", printable(&what))
}

fn pressure_line(Pressure { begins, socket, seconds, given_up }: &Pressure) -> String {
    match begins {
        true => format!("the softswitch is behind at {}", socket.as_deref().unwrap_or("its socket")),
        false => {
            let (seconds, given_up) = (seconds.unwrap_or_default(), given_up.unwrap_or_default());
            format!("the softswitch has caught up after {seconds:.1} s; {given_up} INVITEs and REGISTERs were given up")
        }
    }
}

fn end(address: &str, port: Option<u16>) -> String {
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

fn dropped_line(dropped: &Dropped) -> String {
    let source = end(&dropped.source, dropped.source_port);
    let destination = end(&dropped.destination, dropped.destination_port);
    let mut line = format!("{:16}  {source} > {destination}  {} bytes", dropped.reason, dropped.length);
    for (text, before, after) in [(&dropped.start_line, "  ", ""), (&dropped.user_agent, "  (", ")")] {
        if let Some(text) = text {
            line = format!("{line}{before}{text}{after}");
        }
    }
    line
}

fn rule_line(change: &RuleChange) -> String {
    let (net, is) = (bare(&change.net), change.rule.participle());
    let what = match change.change {
        Change::Made => format!("{net} is {is}"),
        Change::TakenBack => format!("{net} is no longer {is}"),
        Change::Ended => format!("{net} is no longer {is}: its time is over"),
    };
    let until =
        change.until.map(|until| UNIX_EPOCH + Duration::from_secs(until)).filter(|_| change.change == Change::Made);
    let until = until.map(|until| format!(" until {}", humantime::format_rfc3339_seconds(until))).unwrap_or_default();
    let by = format!("{} {}", change.origin, change.who);
    let [by, reason] =
        [by.trim(), &change.reason].map(|text| if text.is_empty() { String::new() } else { format!(", {text}") });
    format!("{:16}  {what}{until}{by}{reason}", "rule")
}

fn softswitch_line(change: &SoftswitchChange) -> String {
    let state = match change.state {
        SoftswitchState::Alive => "alive",
        SoftswitchState::Dead => "dead",
    };
    format!("{:16}  {} is {state}", "softswitch", change.name)
}

fn decoy_line(decoy: &Decoy) -> String {
    let Decoy { source, source_port, destination, destination_port, start_line, user_agent, caught, .. } = decoy;
    let agent = user_agent.as_ref().map(|agent| format!("  {agent}")).unwrap_or_default();
    let caught = if *caught { "  answered the challenge" } else { "" };
    let (from, to) = (end(source, Some(*source_port)), end(destination, Some(*destination_port)));
    format!("{:16}  {from} > {to}  {start_line}{agent}{caught}", "decoy")
}

fn suspension_line(Suspended { change, suspension }: &Suspended) -> String {
    let whom = suspensions::whom(suspension);
    let what = match change {
        SuspensionChange::Begun => {
            format!("{whom} is suspended until {} after {} refusals", date(suspension.until), suspension.failures)
        }
        SuspensionChange::Ended => format!("{whom} is suspended no more: its time is over"),
        SuspensionChange::Lifted => format!("{whom} is suspended no more: lifted"),
    };
    format!("{:16}  {what}", "suspension")
}

fn gateway_line(change: &GatewayChange) -> String {
    let GatewayChange { gateway, limit, calls, seconds, source, call_id, .. } = change;
    let seconds = seconds.unwrap_or_default();
    let what = match change.change {
        GatewayState::Beyond => format!("calls beyond {}", limit.as_deref().unwrap_or("a limit")),
        GatewayState::Calm => format!("{} calls in {seconds:.0} s were beyond its limits", calls.unwrap_or_default()),
        GatewayState::LongCall => {
            let (source, call_id) = (source.as_deref().unwrap_or("?"), call_id.as_deref().unwrap_or("?"));
            format!("a call lasts longer than {seconds:.0} s, from {source}, Call-ID {call_id}")
        }
    };
    format!("{:16}  {gateway}: {what}", "gateway")
}

fn attack_line(transition: &Transition) -> String {
    let (word, before) = (transition.state.word(), transition.before.word());
    let seconds = Duration::from_secs(transition.seconds);
    format!("{word:16}  after {} of {before}: {}", humantime::format_duration(seconds), transition.in_words())
}

fn enumeration_line(Enumeration { source, answers, seconds, asked, found, slowed }: &Enumeration) -> String {
    let is = if *slowed { "is slowed" } else { "would be slowed" };
    let names = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what} {}", names.join(", ")),
    };
    let (asked, found) = (names("not there:", asked), names("found:", found));
    format!(
        "{:16}  {source} {is}: {answers} times in {seconds:.0} s it asked for what is not there{asked}{found}",
        "enumeration"
    )
}

fn offender_line(Offender { source, points, limit, seconds }: &Offender) -> String {
    let points: Vec<String> = points.iter().map(|(kind, points)| format!("{kind} {points}")).collect();
    format!("{:16}  {source} is blocked for {seconds} s: {} of {limit} points", "offender", points.join(", "))
}

fn registration_line(RegistrationChange { change, aor, from, to, moves }: &RegistrationChange) -> String {
    let what = match change {
        RegistrationMove::Moved => format!("{aor} is registered from {to}, and no longer from {from}"),
        RegistrationMove::Added => format!("{aor} is registered from {to}, too, beside {from}"),
        RegistrationMove::Contended => {
            format!("{aor} is contended for: {to} now, {from} before, {moves} times within an hour")
        }
    };
    format!("{:16}  {what}", "registration")
}

fn endpoint_line(EndpointChange { address, port, state, silent_here }: &EndpointChange) -> String {
    let what = match state {
        EndpointState::Silent => format!("has never answered, as {silent_here} at its address"),
        state => format!("is {}", state.label()),
    };
    format!("{:16}  {} {what}", "endpoint", end(address, Some(*port)))
}

fn peer_line(PeerChange { queue, to, why_absent }: &PeerChange) -> String {
    let what = match why_absent {
        None => format!("{to} is there"),
        Some(why) => format!("nobody is at {to} ({why})"),
    };
    format!("{:16}  {what}, queue {queue}", "peer")
}

/// Writes dropped packets to a file until interrupted, or enough.
pub(crate) async fn capture(client: &Client, args: &CaptureArgs) -> Result<u8, Failure> {
    let wanted = Wanted { reason: args.reason.map(str::to_owned), frames: true };
    // Before the file is touched: an engine that is not there leaves the old one as it was.
    let following = client.follow(&wanted).await?;
    let to: Box<dyn Write> = if args.write.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", args.write.display()));
        Box::new(File::create(&args.write).map_err(named)?)
    };
    let mut tally = Tally { writer: Writer::new(to)?, packets: 0, lost: 0 };
    let outcome = tally.run(following, args).await;
    let lost = if tally.lost == 0 { String::new() } else { format!(", {} events lost on the way", tally.lost) };
    eprintln!("vosctl: {} packets written{lost}", tally.packets);
    outcome
}

struct Tally {
    writer: Writer<Box<dyn Write>>,
    packets: u64,
    lost: u64,
}

impl Tally {
    async fn run(&mut self, mut following: Following, args: &CaptureArgs) -> Result<u8, Failure> {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let over = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        while args.count.is_none_or(|count| self.packets < count) {
            let event = tokio::select! {
                event = following.next() => event?,
                _ = int.recv() => return Ok(0),
                _ = term.recv() => return Ok(0),
                () = &mut over => return Ok(0),
            };
            match event {
                Some(event) => self.take(event)?,
                None => return Ok(stopped()),
            }
        }
        Ok(0)
    }

    fn take(&mut self, event: Value) -> io::Result<()> {
        let Ok(Event { time, what }) = serde_json::from_value(event) else { return Ok(()) };
        match what {
            What::Drop(dropped) => {
                let Some(frame) = &dropped.frame else { return Ok(()) };
                let time = Duration::try_from_secs_f64(time).unwrap_or_default();
                self.writer.write(time, &frame.0, dropped.length)?;
                self.packets += 1;
            }
            What::Lost { events } => self.lost += events,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(event: Value) -> String {
        line(&serde_json::from_value(event).expect("an event"))
    }

    #[test]
    fn an_event_is_a_line_that_no_terminal_obeys() {
        let mut event = json!({
            "time": 1_700_000_000.25, "kind": "drop", "reason": "stealth", "queue": 0, "source": "2001:db8::7",
            "source_port": 5061, "destination": "192.0.2.1", "length": 412,
            "start_line": "OPTIONS sip:1 SIP/2.0", "user_agent": "friendly-scanner\u{1b}[2J",
        });
        let expected = "2023-11-14T22:13:20.250Z  stealth           [2001:db8::7]:5061 > 192.0.2.1  412 bytes  \
            OPTIONS sip:1 SIP/2.0  (friendly-scanner\\u{1b}[2J)";
        assert_eq!(of(event.clone()), expected);
        event["start_line"].take();
        event["user_agent"].take();
        assert!(of(event).ends_with("412 bytes"));
        let rule = json!({
            "time": 0.0, "kind": "rule", "change": "made", "net": "203.0.113.7/32", "rule": "block",
            "until": 1_700_000_000, "origin": "api", "who": "uid 0", "reason": "guessing",
        });
        assert_eq!(
            of(rule),
            "1970-01-01T00:00:00.000Z  rule              203.0.113.7 is blocked until 2023-11-14T22:13:20Z, api uid 0, guessing"
        );
        let enumeration = json!({
            "time": 0.0, "kind": "enumeration", "source": "203.0.113.66", "answers": 20, "seconds": 1.25,
            "asked": ["1001@x\u{1b}[2J", "1002@x"], "found": ["1003@x"], "slowed": true,
        });
        assert_eq!(
            of(enumeration),
            "1970-01-01T00:00:00.000Z  enumeration       203.0.113.66 is slowed: 20 times in 1 s it asked for what is not there; \
             not there: 1001@x\\u{1b}[2J, 1002@x; found: 1003@x"
        );
        let offender = json!({
            "time": 0.0, "kind": "offender", "source": "2001:db8::/64", "limit": 100, "seconds": 900,
            "points": { "refused_credentials": 80, "not_found": 30 },
        });
        assert_eq!(
            of(offender),
            "1970-01-01T00:00:00.000Z  offender          2001:db8::/64 is blocked for 900 s: not_found 30, \
             refused_credentials 80 of 100 points"
        );
        let suspended = json!({
            "time": 0.0, "kind": "suspension", "change": "begun", "address": "203.0.113.7", "user": "100@e.com", "aor": "1@x",
            "since": 0, "until": 180, "failures": 6, "times": 1,
        });
        assert_eq!(
            of(suspended),
            "1970-01-01T00:00:00.000Z  suspension        100@e.com at 203.0.113.7 is suspended until 1970-01-01T00:03:00Z after 6 refusals"
        );
        let moved = json!({
            "time": 0.0, "kind": "registration", "change": "moved", "aor": "100@e.com\u{1b}", "from": "192.0.2.7", "to": "192.0.2.8",
            "moves": 1,
        });
        let expected = "registration      100@e.com\\u{1b} is registered from 192.0.2.8, and no longer from 192.0.2.7";
        assert!(of(moved).ends_with(expected));
        let silent = json!({
            "time": 0.0, "kind": "endpoint", "address": "2001:db8::7", "port": 5061, "state": "silent", "silent_here": 3,
        });
        assert!(of(silent).ends_with("endpoint          [2001:db8::7]:5061 has never answered, as 3 at its address"));
        assert!(of(json!({ "time": -1.0, "kind": "lost", "events": 7 })).contains("7 events lost"));
    }

    #[test]
    fn reasons_are_those_that_packets_are_dropped_for() {
        assert_eq!(parse_reason("foreign_domain"), Ok("foreign_domain"));
        for label in ["redirected", "nonsense", ""] {
            assert!(parse_reason(label).expect_err("none").contains("stealth"), "{label}");
        }
    }
}
