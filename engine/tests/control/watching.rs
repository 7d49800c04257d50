//! docs/watching.md: its commands, a real Prometheus that scrapes a real engine with the rules of `configs/prometheus`, and
//! every question that rules and dashboard ask.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::maps::{HashMap, Map, MapData};
use serde_json::Value;
use vos_bench::{Program, Responder};
use vos_common::reason::Reason;
use vos_common::rule::{Addr, Rule};

use crate::scrape;
use crate::site::{Node, PATIENCE, SERVER4, wait_until};

const PAGE: &str = include_str!("../../../docs/watching.md");
const RULES: &str = include_str!("../../../configs/prometheus/vos.rules.yml");
const DASHBOARD: &str = include_str!("../../../configs/grafana/vos.json");
/// Where Prometheus listens, in the node's namespace.
const WEB: &str = "127.0.0.1:9090";
/// Whom the node trusts.
const TRUNK: &str = "198.51.100.1";

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// What stands in the page's blocks of this language, one block a text.
fn blocks(language: &str) -> Vec<&'static str> {
    PAGE.split(&format!("```{language}\n")).skip(1).map(|block| block.split("```").next().unwrap_or_default()).collect()
}

/// The page's commands, which find a host's files in `root`, and this node's engine.
#[track_caller]
fn run(node: &Node, root: &Path, commands: &str) -> String {
    let root = root.display();
    let script = commands
        .replace("/etc/", &format!("{root}/etc/"))
        .replace("/usr/local/share/vos", &configs().display().to_string())
        .replace("/run/vos/eth0.sock", &node.path(&format!("run/{}.sock", node.iface)).display().to_string());
    let vosctl = format!("{} --run-dir {}", env!("CARGO_BIN_EXE_vosctl"), node.path("run").display());
    // the test starts Prometheus itself
    let script =
        format!("vosctl() {{ {vosctl} \"$@\"; }}\nsystemctl() {{ [ \"$*\" = 'restart prometheus' ]; }}\n{script}");
    let done = Command::new("bash").args(["-eo", "pipefail", "-c", &script]).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(done.status.success(), "{commands}: {said}");
    said
}

/// What stands behind `vosctl` in backticks, but for what is filled in later.
fn advised(text: &str) -> BTreeSet<Vec<&str>> {
    let spans = text.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("vosctl "));
    let words = spans.map(|span| span.split_whitespace().collect::<Vec<_>>());
    let words = words.filter(|words| !words.iter().any(|word| word.contains("{{")));
    words
        .map(|words| words.into_iter().map(|word| if word == "REASON" { "malformed" } else { word }).collect())
        .collect()
}

struct Prometheus<'a> {
    _program: Program,
    node: &'a Node,
}

impl<'a> Prometheus<'a> {
    /// The one that reads `folder/prometheus.yml`, in the node's namespace.
    #[track_caller]
    fn start(node: &'a Node, folder: &Path) -> Self {
        let mut command = node.server.command("prometheus");
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={WEB}"));
        let program = Program::start("prometheus", &mut command, Some(&folder.join("prometheus.log"))).unwrap();
        let prometheus = Self { _program: program, node };
        wait_until("Prometheus is ready", || prometheus.get("/-/ready").is_some());
        prometheus
    }

    /// The body of its answer, if that is a good one.
    fn get(&self, path: &str) -> Option<String> {
        let ask = || -> std::io::Result<String> {
            let address: SocketAddr = WEB.parse().unwrap();
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // no chunks
            write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = self.node.server.enter(ask).unwrap().ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// What comes of this expression now.
    #[track_caller]
    fn query(&self, expr: &str) -> Vec<Value> {
        let encoded: String = expr.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = self.get(&format!("/api/v1/query?query={encoded}")).unwrap_or_else(|| panic!("refused: {expr}"));
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        serde_json::from_value(answer["data"]["result"].take()).unwrap()
    }

    /// The alerts that fire, by name.
    #[track_caller]
    fn firing(&self) -> BTreeMap<String, Value> {
        let body = self.get("/api/v1/alerts").expect("alerts");
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        let alerts: Vec<Value> = serde_json::from_value(answer["data"]["alerts"].take()).unwrap();
        let firing = alerts.into_iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| (alert["labels"]["alertname"].as_str().unwrap().to_owned(), alert)).collect()
    }

    /// Waits until this alert fires, and no others but `also`; gives it.
    #[track_caller]
    fn fires(&self, name: &str, also: &[&str]) -> Value {
        let mut firing = BTreeMap::new();
        wait_until(&format!("{name} fires"), || {
            firing = self.firing();
            firing.contains_key(name)
        });
        let others: Vec<_> = firing.keys().filter(|it| *it != name && !also.contains(&it.as_str())).collect();
        assert!(others.is_empty(), "{others:?}");
        let alert = firing.remove(name).unwrap();
        assert_eq!((&alert["labels"]["instance"], &alert["labels"]["iface"]), (&"sip-a".into(), &"eth0".into()));
        assert!(!alert["annotations"].to_string().contains("no value"), "{alert}");
        alert
    }

    /// Waits until none fires but these.
    #[track_caller]
    fn is_quiet(&self, but: &[&str]) {
        wait_until(&format!("nothing fires but {but:?}"), || {
            self.firing().keys().map(String::as_str).collect::<Vec<_>>() == but
        });
    }
}

/// A panel of the dashboard, with what it asks.
struct Panel {
    title: String,
    description: String,
    exprs: Vec<String>,
}

fn panels() -> Vec<Panel> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let exprs = |panel: &Value| panel["targets"].as_array().unwrap().iter().map(|it| text(&it["expr"])).collect();
    panels
        .map(|panel| Panel {
            title: text(&panel["title"]),
            description: text(&panel["description"]),
            exprs: exprs(panel),
        })
        .collect()
}

/// The words of a text that are names of metrics.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| ["vos_", "process_"].iter().any(|prefix| word.starts_with(prefix))).collect()
}

#[test]
fn the_rules_do_what_their_tests_say_and_all_that_is_named_is_there() {
    if !vos_bench::ready(&["promtool"]) {
        return;
    }
    for (words, file) in [(["check", "rules"], "vos.rules.yml"), (["test", "rules"], "vos.rules.test.yml")] {
        let done = Command::new("promtool").args(words).arg(configs().join("prometheus").join(file)).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("SUCCESS"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    }
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let tests = include_str!("../../../configs/prometheus/vos.rules.test.yml");
    for alert in &alerts {
        let anchor: String = alert
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec!['-', c.to_ascii_lowercase()] } else { vec![c] })
            .collect();
        assert!(
            RULES.contains(&format!("runbook: docs/troubleshooting.md#{}\n", anchor.trim_start_matches('-'))),
            "{alert}"
        );
        assert!(tests.contains(&format!("alertname=\"{alert}\",alertstate=\"firing\"")), "no test has {alert} fire");
        assert!(PAGE.contains(&format!("\n| `{alert}` |")), "docs/watching.md does not explain {alert}");
    }
    assert_eq!(RULES.matches("severity: ").count(), alerts.len());

    let mut node = Node::alone();
    node.start("");
    let page = scrape::get(&node, "*/*");
    let exported: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let asked = [metrics(RULES), metrics(DASHBOARD), metrics(tests), metrics(PAGE)].concat_sets();
    let unknown: Vec<_> = asked.difference(&exported).collect();
    assert!(asked.len() > 60 && unknown.is_empty(), "{unknown:?}");
    for words in [advised(RULES), advised(DASHBOARD), advised(PAGE)].concat_sets() {
        // with `--help` nothing is done; commands and flags that there are not are refused all the same
        let done = node.vosctl(&[&words[..], &["--help"]].concat());
        assert!(done.status.success(), "vosctl {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// All of several.
trait Sets<T> {
    fn concat_sets(self) -> BTreeSet<T>;
}

impl<T: Ord, const N: usize> Sets<T> for [BTreeSet<T>; N] {
    fn concat_sets(self) -> BTreeSet<T> {
        self.into_iter().flatten().collect()
    }
}

/// The engine's `vos.toml`: what the page says, and something to see on each panel that one node can fill.
fn config(node: &Node, root: &Path, more: &str) -> String {
    let [api] = blocks("toml")[..] else { panic!("one block of vos.toml") };
    let api = api.replace("/etc/", &format!("{}/etc/", root.display()));
    let feed = node.path("feed.txt");
    format!(
        "{api}[answer]\noptions = true\n[health]\ninterval = \"100ms\"\n[control]\nverify_every = \"1s\"\n\
         [rates.trusted]\ninvite = \"1/s burst 1\"\n[rules]\nmalformed = \"monitor\"\n[[file_feed]]\npath = {feed:?}\n\
         [[gateway]]\nname = \"carrier-a\"\nfrom = [\"198.51.100.16/28\"]\ntier = \"small\"\n{more}"
    )
}

#[test]
fn a_real_prometheus_sees_what_goes_wrong() {
    if !vos_bench::ready(&["prometheus", "promtool", "curl", "openssl", "ip"]) {
        return;
    }
    let mut node = Node::alone();
    let root = tempfile::Builder::new().prefix("vos-watching-").tempdir().unwrap();
    let folder = root.path().join("etc/prometheus");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(root.path().join("etc/vos")).unwrap();
    fs::write(node.path("feed.txt"), "203.0.113.250\n").unwrap();
    node.mode = "relay";
    // its softswitch is one that answers
    node.hang_up();
    let listen = [SocketAddr::new(SERVER4.into(), 5060)];
    let softswitch = node.server.enter(|| Responder::start(&listen)).unwrap().unwrap();
    node.start("");
    fs::write(node.path("vos.toml"), config(&node, root.path(), "")).unwrap();
    let [setup, help, rules] = blocks("sh")[..] else { panic!("three blocks of commands") };
    run(&node, root.path(), setup);
    assert!(run(&node, root.path(), help).contains("# HELP vos_packets_total "));
    assert_eq!(run(&node, root.path(), rules).matches("SUCCESS").count(), 2);
    hurry(&folder);

    node.told(&["trust", TRUNK]);
    node.told(&["block", "203.0.113.7", "--reason", "guessing passwords"]);
    let (tap, pin) = (tap(&node), Path::new("/sys/fs/bpf/vos").join(&node.iface).join("EXACT"));
    {
        let prometheus = Prometheus::start(&node, &folder);
        wait_until("the engine is scraped", || prometheus.query("up{job=\"vos\"} == 1").len() == 1);
        wait_until("the softswitch answers", || prometheus.query("vos_softswitch_up == 1").len() == 1);
        prometheus.is_quiet(&[]);
        dashboard(&prometheus);

        node.told(&["attack", "on", "--ttl", "10m"]);
        prometheus.fires("VosAttack", &[]);
        node.told(&["attack", "off"]);
        prometheus.is_quiet(&[]);

        node.server.ip(&format!("link set {tap} down")).unwrap();
        let alert = prometheus.fires("VosQueueWithoutWorker", &[]);
        assert_eq!(alert["labels"]["queue"], "0");
        node.server.ip(&format!("link set {tap} up")).unwrap();
        prometheus.is_quiet(&[]);

        remove_one(&pin);
        prometheus.fires("VosProjectionFailure", &[]);
        wait_until("the log says so", || {
            node.log().contains("has no entry in the kernel): somebody else writes there")
        });
        node.told(&["verify", "--repair"]);
        prometheus.is_quiet(&[]);
        wait_until("and that it is over", || node.log().contains("agree again"));

        fs::remove_file(node.path("feed.txt")).unwrap();
        prometheus.fires("VosFeedDown", &[]);
        fs::write(node.path("feed.txt"), "203.0.113.250\n").unwrap();
        prometheus.is_quiet(&[]);

        node.halt(true);
        prometheus.fires("VosEngineDown", &[]);
        node.halt(false);
        prometheus.is_quiet(&[]);

        softswitch.stop();
        prometheus.fires("VosSoftswitchDead", &[]);
        let softswitch = node.server.enter(|| Responder::start(&listen)).unwrap().unwrap();
        prometheus.is_quiet(&[]);

        // no rule is enforced against the first; the second is too short for SIP
        let trunk: IpAddr = TRUNK.parse().unwrap();
        node.send(trunk, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
        let alert = prometheus.fires("VosTrustedWouldDrop", &[]);
        assert_eq!(alert["labels"]["reason"], Reason::Malformed.label());
        node.send("198.51.100.99".parse().unwrap(), b"hello");
        prometheus.is_quiet(&["VosTrustedWouldDrop"]);
        node.send(trunk, b"hello");
        let alert = prometheus.fires("VosTrustedMalformed", &["VosTrustedWouldDrop"]);
        assert_eq!(alert["labels"]["reason"], Reason::Short.label());
        let invite = format!("INVITE sip:1@{SERVER4} SIP/2.0\r\nCall-ID: a\r\n\r\n");
        (0..40).for_each(|_| node.send(trunk, invite.as_bytes()));
        let alert = prometheus.fires("VosTrustedDropped", &["VosTrustedWouldDrop", "VosTrustedMalformed"]);
        assert_eq!(alert["labels"]["reason"], Reason::RateInvite.label());
        let stats = node.json(&["stats"]);
        assert_eq!(
            (&stats["allowed_would_drop"]["malformed"], &stats["allowed_dropped"]["short"]),
            (&1.into(), &1.into())
        );
        drop(softswitch);
    }
    lonely_node(node, root.path(), &folder);
}

/// Of a cluster whose broker is away.
fn lonely_node(mut node: Node, root: &Path, folder: &Path) {
    node.stop();
    let more = "[amqp]\nurl = \"amqp://127.0.0.1:9\"\nqueue = \"\"\n[cluster]\nlog = \"vos.decisions\"\n";
    node.start(&config(&node, root, more));
    fs::remove_dir_all(folder.join("data")).unwrap();
    let prometheus = Prometheus::start(&node, folder);
    // nobody answers in the softswitch's place any more
    prometheus.fires("VosClusterLag", &["VosFeedDown", "VosSoftswitchDead"]);
}

/// A test has no minutes: scraped and judged each second, and an alert need not last longer.
fn hurry(folder: &Path) {
    for (name, from, to) in [("prometheus.yml", "_interval: ", "1s"), ("vos.rules.yml", "for: ", "1s")] {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| match line.split_once(from) {
            Some((before, _)) if !before.contains('#') && before.trim().chars().all(|c| c.is_ascii_lowercase()) => {
                format!("{before}{from}{to}\n")
            }
            _ => format!("{line}\n"),
        });
        let hurried: String = lines.collect();
        assert_ne!(hurried, text, "{name}");
        fs::write(path, hurried).unwrap();
    }
}

/// The TAP by which packets re-enter.
#[track_caller]
fn tap(node: &Node) -> String {
    let log = node.log();
    let name = log.split("by re-entry through ").nth(1).and_then(|rest| rest.split_whitespace().next());
    name.unwrap_or_else(|| panic!("no re-entry:\n{log}")).to_owned()
}

/// Takes an exact address out of the kernel's map behind the engine's back.
#[track_caller]
fn remove_one(pin: &Path) {
    let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let mut map = HashMap::<_, Addr, Rule>::try_from(map).unwrap();
    let key = map.keys().next().expect("a rule").unwrap();
    map.remove(&key).unwrap();
}

/// Each panel's questions are answered; with nothing only where its description says so.
#[track_caller]
fn dashboard(prometheus: &Prometheus<'_>) {
    let panels = panels();
    assert!(panels.len() > 40, "{}", panels.len());
    let mut questions = 0;
    for Panel { title, description, exprs } in &panels {
        assert!(description.len() > 20, "{title} does not say what to do");
        for expr in exprs {
            assert!(expr.contains("instance=~\"$node\",iface=~\"$iface\""), "{title}: {expr}");
            let asked = expr.replace("$node", "sip-.*").replace("$iface", ".*").replace("$__rate_interval", "20s");
            assert!(!asked.contains('$'), "{asked}");
            questions += 1;
            if description.to_lowercase().contains("empty") {
                prometheus.query(&asked);
            } else {
                wait_until(&format!("{title} shows something: {asked}"), || !prometheus.query(&asked).is_empty());
            }
        }
    }
    println!("{} panels, {questions} questions", panels.len());
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|it| it["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap();
        let (series, label) =
            query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')')?.rsplit_once(", ")).unwrap();
        let found = prometheus.query(&series.replace("$node", ".*"));
        let found: BTreeSet<_> = found.iter().filter_map(|it| it["metric"][label].as_str()).collect();
        assert_eq!(found.len(), 1, "{query}: {found:?}");
    }
}
