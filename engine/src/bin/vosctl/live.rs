//! What is in force and how it is changed at run time: status, reload, rule, attack.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use vos_common::reason::Reason;
use vos_engine::config::{Config, Fallback, Limits, RuleMode, Rules};
use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;
use vos_engine::detector::{Reading, View};
use vos_engine::events::SoftswitchState;
use vos_engine::feed;
use vos_engine::live::wire::{Attack, NewAttack, Reloaded, Status, Switch, Switched};

use crate::answer::{Failure, Table, date, span, tell};
use crate::{Cli, feeds, time};

#[derive(Args, Debug)]
pub(super) struct RuleSwitch {
    /// The rule, as `vosctl status` and `vosctl stats` name it, or all.
    #[arg(value_name = "NAME", value_parser = parse_rule)]
    rule: String,
    /// enforce: drop. monitor: only count. off: do not look.
    mode: RuleMode,
}

#[derive(Subcommand, Debug)]
pub(super) enum AttackSwitch {
    /// All unknown sources share one budget (rates.global); verified ones keep theirs.
    On {
        /// How long: 15m if left out, 24h at most.
        #[arg(long, value_name = "TIME", value_parser = time::span, default_value = "15m")]
        ttl: Duration,
    },
    /// Back to normal; for a quarter of an hour no attack is found.
    Off,
    /// Show whether it is an attack, what is seen, what is usual, and from when on it is too much.
    Show,
}

fn parse_rule(name: &str) -> Result<String, String> {
    if name == "all" || Rules::named(name).is_some() {
        return Ok(name.to_owned());
    }
    let labels: Vec<&str> = Rules::all().map(Reason::label).collect();
    Err(format!("there is no such rule: write all, or one of {}", labels.join(", ")))
}

pub(super) async fn reload(client: &Client, cli: &Cli) -> Result<u8, Failure> {
    let answer = client.reload().await?;
    tell(cli.json, &answer, reloaded_text)
}

pub(super) async fn switch(client: &Client, cli: &Cli, RuleSwitch { rule, mode }: &RuleSwitch) -> Result<u8, Failure> {
    let answer = client.switch(&Switch { rule: rule.clone(), mode: *mode }).await?;
    tell(cli.json, &answer, switched_text)
}

pub(super) async fn attack(client: &Client, cli: &Cli, switch: &AttackSwitch) -> Result<u8, Failure> {
    let on = match switch {
        AttackSwitch::On { ttl } => Some(NewAttack { ttl_s: Some(ttl.as_secs()) }),
        AttackSwitch::Off => None,
        AttackSwitch::Show => return tell(cli.json, &client.attacked().await?, shown_text),
    };
    let answer = client.attack(on.as_ref()).await?;
    tell(cli.json, &answer, attack_text)
}

pub(super) async fn status(client: &Client, cli: &Cli) -> Result<u8, Failure> {
    let (status, feeds) = (client.status().await?, client.feeds().await?);
    tell(cli.json, &Told { status, feeds }, told_text)
}

/// All that `vosctl status` shows.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    status: Status,
    feeds: Vec<feed::View>,
}

fn told_text(Told { status, feeds }: &Told) -> String {
    let names = std::iter::once("feeds").chain(std::iter::repeat(""));
    let feeds = feeds.iter().zip(names).map(|(feed, name)| line(name, &feeds::line(feed)));
    status_text(status) + &printable_lines(&feeds.collect::<String>())
}

fn line(name: &str, value: &str) -> String {
    format!("{name:11}  {value}").trim_end().to_owned() + "\n"
}

fn reloaded_text(Reloaded { changed, restart }: &Reloaded) -> String {
    let mut text = match changed.as_slice() {
        [] => "reloaded: nothing has changed\n".to_owned(),
        keys => format!("reloaded: {} in force now\n", keys.join(", ")),
    };
    if !restart.is_empty() {
        text += &format!("after a restart of vos-engine only: {}\n", restart.join(", "));
    }
    printable_lines(&text)
}

fn switched_text(Switched { asked, rules }: &Switched) -> String {
    let mut text = String::new();
    for (rule, mode) in rules {
        text += &format!("{rule}: {mode}, until the next reload or restart\n");
    }
    if rules.values().any(|mode| mode != asked) {
        let why = match asked {
            RuleMode::Enforce => "vos-engine runs with mode = \"monitor\": nothing is enforced",
            _ => "some are not as asked: see vosctl status",
        };
        text += &format!("{why}\n");
    }
    printable_lines(&text)
}

fn attack_text(Attack { left_s }: &Attack) -> String {
    match left_s {
        Some(left) => format!("attack mode: on for {}\n", span(*left)),
        None => "attack mode: off\n".to_owned(),
    }
}

fn shown_text(View { detect, state, since, attacks, readings }: &View) -> String {
    let mut text = match detect {
        true => format!("{} since {}; {attacks} attacks since the start\n", state.word(), date(*since)),
        false => "it is not looked: attack.detect = false\n".to_owned(),
    };
    let head = ["SIGNAL", "NOW", "USUAL", "LIMIT"].map(str::to_owned);
    let row = |reading: &Reading| {
        let unit = reading.signal.unit();
        let number = |number: f64| format!("{number:.0}{unit}");
        let limit = reading.limit.map_or_else(|| "-".to_owned(), number);
        [reading.signal.label().to_owned(), number(reading.value), number(reading.usual), limit]
    };
    let rows: Vec<_> = [head].into_iter().chain(readings.iter().map(row)).collect();
    text += &Table::new().lines(&rows);
    text
}

/// For people: what is as the default profile has it is left out.
fn status_text(status: &Status) -> String {
    let mut lines = vec![
        ("mode", status.mode.word().to_owned()),
        ("profile", status.profile.to_string()),
        ("admission", status.admission.word().to_owned()),
        ("stealth", status.stealth.word().to_owned()),
        ("domains", list_or(&status.domains, "any")),
        ("signatures", status.signatures.to_string()),
        ("attack mode", status.attack_left_s.map_or("off".to_owned(), |left| format!("on, {} left", span(left)))),
        ("redirect", status.redirect.word().to_owned()),
    ];
    lines.extend(status.redirected.iter().map(|share| ("", share.clone())));
    if status.redirected.is_empty() {
        lines.push(("", "nothing goes to the engine: survivors take the kernel's path".to_owned()));
    }
    lines.push(("relay", relay_text(status)));
    lines.push(("softswitch", softswitch_text(status.softswitch).to_owned()));
    let usual = Config::default().rules_in_force();
    let unusual = |(rule, mode): (&String, &RuleMode)| {
        let expected = Rules::named(rule).map(|rule| usual.mode(rule));
        (expected != Some(*mode)).then(|| format!("{rule} {mode}"))
    };
    let unusual: Vec<String> = status.rules.iter().filter_map(unusual).collect();
    lines.push(("rules", list_or(&unusual, "as in the default profile")));
    if !status.switched.is_empty() {
        lines.push(("switched", format!("{} (until the next reload or restart)", status.switched.join(", "))));
    }
    if !status.hardened.is_empty() {
        lines.push(("stricter", format!("{} (in an attack, and for a while afterwards)", status.hardened.join(", "))));
    }
    let rates = &status.rates;
    let limits = |Limits { all, register, invite, options }: &Limits| {
        format!("all {all}; REGISTER {register}; INVITE {invite}; OPTIONS {options}")
    };
    lines.extend([
        ("unknown", limits(&rates.unknown)),
        ("verified", format!("{}; for {}", limits(&rates.verified), humantime::format_duration(rates.verified_for))),
        ("trusted", limits(&rates.trusted)),
        ("prefix", limits(&rates.prefix)),
        ("global", format!("{} (in attack mode)", rates.global)),
        ("samples", rates.samples.to_string()),
    ]);
    let lines = lines.iter().map(|(name, value)| line(name, value));
    printable_lines(&lines.collect::<String>())
}

fn relay_text(Status { relay, fallback, peers, .. }: &Status) -> String {
    let instead = match fallback {
        Fallback::Local => "to the softswitch on this host",
        Fallback::Drop => "nowhere: packets are dropped",
    };
    match peers {
        None => relay.clone(),
        Some((present, all)) if present == all => format!("{relay}: somebody is there"),
        Some((0, _)) => format!("{relay}: nobody is there; meanwhile {instead}"),
        Some((present, all)) => format!("{relay}: {present} of {all} queues reach it; the others go {instead}"),
    }
}

fn softswitch_text(state: Option<SoftswitchState>) -> &'static str {
    match state {
        Some(SoftswitchState::Alive) => "alive",
        Some(SoftswitchState::Dead) => "dead: OPTIONS of allowed and trusted sources get 503",
        None => "not asked",
    }
}

fn list_or(list: &[String], none: &str) -> String {
    if list.is_empty() { none.to_owned() } else { list.join(", ") }
}

/// Names come from a file, and files from anywhere.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", printable(line))).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vos_engine::config::{Admission, Mode, Profile, Redirect, Stealth};
    use vos_engine::live::ATTACK_DEFAULT;

    use super::*;
    use crate::{Command, Verb};

    fn status() -> Status {
        let config = Config::default();
        let rules = config.rules_in_force();
        Status {
            mode: Mode::Relay,
            profile: Profile::Default,
            admission: Admission::Open,
            stealth: Stealth::Options,
            domains: Vec::new(),
            rules: Rules::all().map(|rule| (rule.label().to_owned(), rules.mode(rule))).collect(),
            switched: Vec::new(),
            hardened: Vec::new(),
            redirect: Redirect::All,
            redirected: vec!["all that survives the rules".to_owned()],
            relay: "local".to_owned(),
            fallback: Fallback::Local,
            peers: None,
            softswitch: None,
            attack_left_s: None,
            signatures: 22,
            rates: config.rates,
        }
    }

    #[test]
    fn status_names_what_is_not_as_usual() {
        let text = status_text(&status());
        for part in [
            "mode         relay\n",
            "domains      any\n",
            "softswitch   not asked\n",
            "attack mode  off\n",
            "             all that survives",
        ] {
            assert!(text.contains(part), "{part} of\n{text}");
        }
        assert!(text.contains("rules        as in the default profile\n") && !text.contains("switched"), "{text}");
        assert!(text.contains("unknown      all 3000/s burst 10000; REGISTER 100/s burst 2000"), "{text}");
        assert!(text.contains("; for 2h\n"), "{text}");
        let mut unusual = status();
        unusual.rules.insert("scanner".into(), RuleMode::Monitor);
        unusual.rules.insert("closed".into(), RuleMode::Enforce);
        unusual.switched = vec!["rules.scanner".into()];
        unusual.attack_left_s = Some(893);
        unusual.softswitch = Some(SoftswitchState::Dead);
        unusual.redirected.clear();
        unusual.relay = "unix:/run/consumer.sock".into();
        unusual.peers = Some((0, 4));
        unusual.domains = vec!["a.example".into(), "evil\u{1b}[2J".into()];
        let text = status_text(&unusual);
        for part in [
            "rules        closed enforce, scanner monitor\n",
            "switched     rules.scanner (until the next reload or restart)\n",
            "attack mode  on, 14m 53s left\n",
            "survivors take the kernel's path\n",
            "relay        unix:/run/consumer.sock: nobody is there; meanwhile to the softswitch on this host\n",
            "softswitch   dead: OPTIONS",
            "domains      a.example, evil\\u{1b}[2J\n",
        ] {
            assert!(text.contains(part), "{part} of\n{text}");
        }
    }

    #[test]
    fn feeds_have_a_line_each_behind_the_rest() {
        let feed = |name: &str, error: &str| feed::View {
            name: name.to_owned(),
            state: vos_engine::feed::State::Up,
            error: error.to_owned(),
            read: 9,
            applied: 7,
            already: 0,
            refused: 0,
            bad: 0,
        };
        let feeds = vec![feed("file /a", ""), feed("amqp vos.block", "evil\u{1b}[2J")];
        let told = told_text(&Told { status: status(), feeds });
        let lines = "feeds        file /a: up, 7 applied\n             amqp vos.block: up, 7 applied; evil\\u{1b}[2J\n";
        assert!(told.starts_with("mode ") && told.ends_with(lines), "{told}");
        assert_eq!(told_text(&Told { status: status(), feeds: Vec::new() }), status_text(&status()));
    }

    #[test]
    fn a_reload_tells_what_changed_and_what_waits() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let nothing = Reloaded { changed: Vec::new(), restart: Vec::new() };
        assert_eq!(reloaded_text(&nothing), "reloaded: nothing has changed\n");
        let both = Reloaded { changed: keys(&["xdp.mode", "rules.scanner"]), restart: keys(&["xsk.ring"]) };
        assert_eq!(
            reloaded_text(&both),
            "reloaded: xdp.mode, rules.scanner in force now\nafter a restart of vos-engine only: xsk.ring\n"
        );
    }

    #[test]
    fn a_switch_says_how_long_it_holds_and_where_it_does_not() {
        let switched = |mode| Switched { asked: RuleMode::Enforce, rules: [("scanner".to_owned(), mode)].into() };
        assert_eq!(switched_text(&switched(RuleMode::Enforce)), "scanner: enforce, until the next reload or restart\n");
        assert!(switched_text(&switched(RuleMode::Monitor)).contains("mode = \"monitor\": nothing is enforced"));
        assert_eq!(attack_text(&Attack { left_s: Some(900) }), "attack mode: on for 15m\n");
    }

    #[test]
    fn words_are_checked_before_anything_is_sent() {
        let refused = |words: &[&str]| Cli::try_parse_from(words).expect_err("refused");
        let error = refused(&["vosctl", "rule", "scaner", "off"]);
        assert!(error.exit_code() == 2 && error.to_string().contains("foreign_domain"), "{error}");
        for words in [
            &["vosctl", "rule", "scanner"][..],
            &["vosctl", "rule", "scanner", "on"],
            &["vosctl", "attack"],
            &["vosctl", "attack", "on", "--ttl", "soon"],
            &["vosctl", "attack", "off", "--ttl", "5m"],
        ] {
            assert_eq!(refused(words).exit_code(), 2, "{words:?}");
        }
        let cli = Cli::try_parse_from(["vosctl", "attack", "on"]).expect("taken");
        assert!(matches!(cli.verb, Verb::Asking(Command::Attack { switch: AttackSwitch::On { ttl: ATTACK_DEFAULT } })));
    }
}
