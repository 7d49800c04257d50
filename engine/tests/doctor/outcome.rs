use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::host::{Host, Said};

#[test]
fn the_exit_code_is_that_of_the_worst_finding_and_the_worst_comes_last() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    for config in ["", "queues = 1", "mode = \"filter\""] {
        let said = host.examine(&host.iface, config);
        assert_eq!(said.json["interface"], *host.iface);
        let rank =
            |severity: &Value| ["ok", "note", "warning", "error"].iter().position(|word| severity == word).unwrap();
        let ranks: Vec<usize> = said.findings().iter().map(|finding| rank(&finding["severity"])).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(rank(&said.json["worst"]), *ranks.last().unwrap());
        assert_eq!(said.code, [0, 0, 5, 1][*ranks.last().unwrap()]);
        for finding in said.findings() {
            let texts = ["check", "what", "why", "fix"].map(|key| finding[key].as_str().unwrap());
            assert!(!texts[1].is_empty() && texts[2].is_empty() == (finding["severity"] == "ok"), "{finding:#}");
        }
        let text = host.run(&[&host.iface]);
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.lines().last().unwrap().ends_with(" ok"), "{text}");
    }
}

#[test]
fn without_an_interface_it_is_that_of_the_flag_the_configuration_or_the_default_route() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    let (config, none) = (host.path("vos.toml"), host.path("none.toml"));
    std::fs::write(&config, "iface = \"lo\"\n").unwrap();
    std::fs::write(&none, "").unwrap();
    let run = |words: &[&str]| {
        let output = host.run(words);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (text.lines().next().unwrap_or_default().to_owned(), output.status.code().unwrap())
    };
    let [config, none] = [&config, &none].map(|file| file.to_str().unwrap());
    let (line, code) = run(&["--config", none]);
    assert!(line.contains("no default route") && code == 2, "{line}");
    host.ns.ip("route add default via 192.0.2.254 metric 10").unwrap();
    assert_eq!(run(&["--config", none]).0, format!("{}: the interface of the default route", host.iface));
    assert_eq!(run(&["--config", config]).0, "lo: the interface of the configuration");
    assert_eq!(run(&["--config", config, "--iface", &host.iface]).0, format!("{}: as asked for", host.iface));
    // unsound, not even TOML: the interface is that of the file all the same
    for unsound in ["iface = \"lo\"\nqueues = \"many\"\n", "iface = \"lo\"\n[xdp\nqueues =\n"] {
        std::fs::write(none, unsound).unwrap();
        assert_eq!(run(&["--config", none]), ("lo: the interface of the configuration".to_owned(), 1), "{unsound}");
    }
    std::fs::write(none, "").unwrap();
    let (line, code) = run(&["nowhere0"]);
    assert!(line.contains("no interface nowhere0") && line.contains("ip -br link") && code == 4, "{line}");
    assert_eq!(run(&["a-name-of-more-than-15"]).1, 4);
}

#[test]
fn the_default_route_is_the_main_tables_by_whichever_ways() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    let chosen = || {
        let output = host.run(&["--config", "/dev/null"]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    };
    host.ns.ip("tuntap add dev vpn0 mode tun").unwrap();
    host.ns.ip("link set vpn0 up").unwrap();
    for table in ["100", "1000"] {
        host.ns.ip(&format!("route add default dev vpn0 table {table}")).unwrap();
    }
    assert!(chosen().contains("no default route"), "{}", chosen());
    let ways = format!("nexthop via 192.0.2.253 dev {} nexthop via 192.0.2.254 dev {}", host.iface, host.iface);
    host.ns.ip(&format!("route add default metric 10 {ways}")).unwrap();
    host.ns.ip("route add default dev vpn0 metric 20").unwrap();
    assert_eq!(chosen(), format!("{}: the interface of the default route", host.iface));
    host.ns.ip("route add default dev vpn0 metric 5").unwrap();
    assert_eq!(chosen(), "vpn0: the interface of the default route");
}

#[test]
fn an_unsound_configuration_is_a_finding_among_the_others() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    let said = host.examine(&host.iface, "[xdp]\nsip_ports = []\n");
    assert_eq!((said.severity("configuration"), said.code), ("error", 1));
    assert!(said.what("configuration").contains("sip_ports"), "{}", said.what("configuration"));
    assert_eq!(said.severity("device"), "ok");
    assert_eq!(host.examine(&host.iface, "").severity("configuration"), "ok");
}

#[test]
fn another_user_is_told_what_could_not_be_checked() {
    if !vos_bench::ready(&["setpriv"]) {
        return;
    }
    let host = Host::new();
    let _engine = host.starts("");
    // where everybody may come
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let vosctl = dir.path().join("vosctl");
    std::fs::copy(env!("CARGO_BIN_EXE_vosctl"), &vosctl).unwrap();
    // as the package and the pages have it
    let file = |name: &str, content: &str, mode| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let secret = file("amqp.password", "secret", 0o640);
    let hidden = file("vos.toml", "queues = 3\n", 0o640);
    let names = format!("queues = 2\n[amqp]\nurl = \"amqp://vos@192.0.2.9\"\npassword_file = {secret:?}\n");
    let open = file("open.toml", &names, 0o644);
    let examine = |config: &std::path::Path| {
        let mut command = host.ns.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&vosctl);
        command.args(["doctor", &host.iface, "--json", "--config"]).arg(config).output().unwrap()
    };
    let said = Said::of_output(&examine(&hidden));
    let of = |check: &str| said.of(check);
    for check in ["configuration", "capabilities", "bpf-programs", "af-xdp", "other-xdp", "other-af-xdp"] {
        assert_eq!(of(check)["severity"], "note", "{:#}", of(check));
        assert_eq!(of(check)["fix"], format!("sudo vosctl doctor {}", host.iface));
    }
    for check in ["device", "native-xdp"] {
        assert_eq!(of(check)["severity"], "ok", "what everybody may ask: {:#}", of(check));
    }
    assert_ne!(said.json["worst"], "error", "{:#}", said.json);
    assert_ne!(said.code, 1);
    let of_secrets = Said::of_output(&examine(&open));
    assert_eq!(of_secrets.severity("configuration"), "note");
    assert!(of_secrets.what("configuration").contains("amqp.password"), "{:#}", of_secrets.of("configuration"));
    assert_eq!(of_secrets.severity("queues"), "ok", "what can be read of it holds");
}
