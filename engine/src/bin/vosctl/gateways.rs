//! `vosctl gateways`: trunks, what they may, and what they do.

use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;
use vos_engine::live::wire::Gateways;
use vos_engine::policy::gateways::GatewayView;

use crate::Cli;
use crate::answer::{Failure, Table, short_span, tell};

pub(super) async fn run(client: &Client, cli: &Cli) -> Result<u8, Failure> {
    tell(cli.json, &client.gateways().await?, text)
}

fn text(Gateways { gateways, evicted }: &Gateways) -> String {
    if gateways.is_empty() {
        return "there are none: [[gateway]] in vos.toml makes some\n".to_owned();
    }
    let head =
        ["GATEWAY", "TIER", "AUTH", "CALLS", "CPS", "PASSED", "BEYOND CPS", "BEYOND CALLS", "LONG", "ONLINE", "SEEN"];
    let row = |view: &GatewayView| {
        [
            printable(&view.name).into_owned(),
            view.tier.map_or_else(|| "-".to_owned(), |tier| tier.to_string()),
            view.port.map_or_else(|| view.auth.to_string(), |port| format!("{} {port}", view.auth)),
            format!("{}/{}", view.calls, view.max_calls),
            format!("{}/{}", view.rate, view.cps),
            view.passed.to_string(),
            view.over_cps.to_string(),
            view.over_calls.to_string(),
            view.long_calls.to_string(),
            if view.asked == 0 { "-".to_owned() } else { format!("{}/{}", view.online, view.asked) },
            view.seen_s.map_or_else(|| "never".to_owned(), |seconds| format!("{} ago", short_span(seconds))),
        ]
    };
    let rows: Vec<_> = [head.map(str::to_owned)].into_iter().chain(gateways.iter().map(row)).collect();
    let evicted = match evicted {
        0 => String::new(),
        evicted => format!("{evicted} calls were forgotten before they ended, for want of room\n"),
    };
    Table::new().lines(&rows) + &evicted
}

#[cfg(test)]
mod tests {
    use vos_engine::config::{Auth, Size};

    use super::*;

    #[test]
    fn each_trunk_has_a_row() {
        let a = GatewayView {
            name: "carrier-a".into(),
            from: vec!["198.51.100.0/28".parse().expect("a net")],
            auth: Auth::IpPort,
            port: Some(5080),
            tier: Some(Size::Medium),
            cps: 30,
            burst: 30,
            max_calls: 150,
            max_duration_s: 3_600,
            calls: 12,
            rate: 3,
            passed: 4_711,
            over_cps: 5,
            over_calls: 6,
            long_calls: 1,
            seen_s: Some(2),
            asked: 2,
            online: 1,
        };
        let b = GatewayView { auth: Auth::Password, port: None, tier: None, seen_s: None, asked: 0, ..a.clone() };
        let b = GatewayView { name: "b\u{1b}[2J".into(), ..b };
        let lines = text(&Gateways { gateways: vec![a, b], evicted: 3 });
        let words: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            words[1],
            ["carrier-a", "medium", "ip+port", "5080", "12/150", "3/30", "4711", "5", "6", "1", "1/2", "2s", "ago"]
        );
        assert_eq!(words[2], ["b\\u{1b}[2J", "-", "password", "12/150", "3/30", "4711", "5", "6", "1", "-", "never"]);
        assert!(lines.ends_with("\n3 calls were forgotten before they ended, for want of room\n"), "{lines}");
        assert!(text(&Gateways { gateways: Vec::new(), evicted: 0 }).contains("[[gateway]]"));
    }
}
