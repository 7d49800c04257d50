//! What goes through the engine and what need not: `relay.redirect`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use vos_bench::{Kind, LoadOptions, LoadReport, Stop};

use crate::site::{
    CALLER, CALLER6, OTHER, OTHER6, PATIENCE, SERVER4, SERVER6, Site, Stats, request, request_of, server_of, wait_until,
};

/// Each family's stranger, allowed peer and server.
const FAMILIES: [(IpAddr, IpAddr, IpAddr); 2] =
    [(IpAddr::V4(CALLER), IpAddr::V4(OTHER), SERVER4), (IpAddr::V6(CALLER6), IpAddr::V6(OTHER6), SERVER6)];

/// `needed`, and what is answered besides; nobody is suspended or slowed, so that requests are nothing to decide about.
fn needed(answer: &str) -> String {
    let off = "[registration]\nsuspend = false\nwatch = false\n[rules]\nslowed = \"off\"\n";
    format!("[relay]\nredirect = \"needed\"\n{off}[answer]\n{answer}")
}

/// A site of this configuration, with the peers allowed.
fn site_of(config: &str) -> Site {
    let site = Site::builder().config(config).start();
    site.told(&["allow", &OTHER.to_string(), &OTHER6.to_string()]);
    site
}

#[test]
fn what_needs_no_thought_takes_the_kernels_path_to_the_same_socket() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = site_of(&needed("keep_alives = true\n"));
    let before = site.stats();
    let (mut by_kernel, mut by_engine) = (0, 0);
    for (stranger, peer, _) in FAMILIES {
        for (from, methods) in
            [(stranger, &["REGISTER", "INVITE", "BYE"][..]), (peer, &["REGISTER", "INVITE", "BYE", "OPTIONS"])]
        {
            let phone = site.phone(from);
            for method in methods {
                let call = format!("one-{method}-{from}");
                assert_eq!(site.asks(&phone, method, &call), 200, "{call}");
                let seen: Vec<_> = site.seen().into_iter().filter(|seen| seen.call == call).collect();
                assert_eq!(seen.len(), 1, "{seen:?}");
                assert_eq!((seen[0].method.as_str(), seen[0].source), (*method, phone.local_addr().unwrap()));
                by_kernel += 1;
            }
        }
        let (phone, other) = (site.phone(stranger), site.phone(peer));
        let ack = |from: SocketAddr, call: &str| request("ACK", from, &format!("{call}-{}", from.ip()));
        for (from, call) in [(&phone, "ack-stranger"), (&other, "ack-peer")] {
            let text = ack(from.local_addr().unwrap(), call);
            from.send_to(text.as_bytes(), server_of(from)).unwrap();
            site.arrives(&format!("{call}-{}", from.local_addr().unwrap().ip()));
        }
        // The stranger's ACK, both keep-alives and a datagram in two fragments are for the engine.
        by_kernel += 1;
        phone.send_to(b"\r\n\r\n", server_of(&phone)).unwrap();
        other.send_to(b"\r\n\r\n", server_of(&other)).unwrap();
        let long = request_of(2_048, "INVITE", other.local_addr().unwrap(), &format!("long-{peer}"));
        assert_eq!(site.exchange(&other, long.as_bytes()), 200);
        by_engine += 1 + 2 + 2;
    }
    site.counted(&before, "kernel", by_kernel);
    site.counted(&before, "redirected", by_engine);
    let taken = |stats: &Stats| stats.ended("taken", "keep_alive");
    wait_until("the keep-alives are taken", PATIENCE, || taken(&site.stats()) == taken(&before) + 4);
    assert_eq!(site.stats().workers("received").iter().sum::<u64>(), by_engine);
}

#[test]
fn what_is_answered_is_needed_and_the_rest_is_not() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = site_of(&needed("options = true\nrefuse_calls = true\n"));
    let words = site.json(&["status"])["redirected"].clone();
    assert!(
        words.to_string().contains("answer.options") && words.to_string().contains("answer.refuse_calls"),
        "{words}"
    );
    let before = site.stats();
    for (stranger, peer, server) in FAMILIES {
        let (phone, other) = (site.phone(stranger), site.phone(peer));
        let local = other.local_addr().unwrap();
        let uri = if server.is_ipv6() { format!("sip:[{server}]") } else { format!("sip:{server}") };
        let ping = request("OPTIONS", local, &format!("ping-{server}")).replace("sip:2@e.com", &uri);
        assert_eq!(site.exchange(&other, ping.replace(";branch", ";rport;branch").as_bytes()), 200);
        assert_eq!(site.asks(&other, "INVITE", &format!("call-{peer}")), 200);
        assert_eq!(site.asks(&other, "REGISTER", &format!("register-{peer}")), 200);
        assert_eq!(site.asks(&phone, "INVITE", &format!("call-{stranger}")), 200);
    }
    site.counted(&before, "redirected", 4);
    site.counted(&before, "kernel", 4);
    assert_eq!((site.seen_calls("ping"), site.seen_calls("call"), site.seen_calls("register")), (0, 4, 2));
    assert_eq!(site.stats().ended("answered", "answered"), 2);
}

/// Datagrams that found Kamailio's socket full, which is nobody's fault but this machine's.
fn found_no_room(site: &Site) -> u64 {
    let read = |file: &str| site.server.enter(|| std::fs::read_to_string(file)).unwrap().unwrap();
    let v6 = read("/proc/net/snmp6");
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors")?.trim().parse::<u64>().ok());
    let v4 = read("/proc/net/snmp");
    let mut udp = v4.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (udp.next().expect("names"), udp.next().expect("values"));
    let mut both = names.split(' ').zip(values.split(' '));
    let v4 = both.find_map(|(name, value)| (name == "RcvbufErrors").then(|| value.parse::<u64>().unwrap()));
    v4.expect("Udp: RcvbufErrors") + v6.expect("Udp6RcvbufErrors")
}

#[test]
fn switching_between_all_needed_and_none_loses_nothing() {
    /// A second, of each family.
    const RATE: u64 = 1_000;
    const SECONDS: f64 = 6.0;
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let config = |redirect: &str| {
        format!(
            "[relay]\nredirect = \"{redirect}\"\n[registration]\nsuspend = false\nwatch = false\n\
             [rules]\nslowed = \"off\"\nrate_register = \"off\"\nrate_source = \"off\"\nrate_prefix = \"off\"\n"
        )
    };
    let site = site_of(&config("all"));
    let (full, before) = (found_no_room(&site), site.stats());
    let load = |stranger, server| -> LoadReport {
        let mut options = LoadOptions::new(SocketAddr::new(server, 5060));
        (options.kind, options.rate, options.from) = (Kind::Register, RATE, vec![stranger]);
        (options.seconds, options.linger) = (SECONDS, 3.0);
        site.caller.enter(|| vos_bench::load::run(&options, &Stop::never())).unwrap().unwrap()
    };
    let mut rounds = 0;
    let reports = std::thread::scope(|scope| {
        let load = &load;
        let loads: Vec<_> =
            FAMILIES.iter().map(|(stranger, _, server)| scope.spawn(move || load(*stranger, *server))).collect();
        let over = || loads.iter().any(std::thread::ScopedJoinHandle::is_finished);
        let paths = |stats: &Stats| ["redirected", "kernel"].map(|reason| stats.reason(reason));
        while !over() {
            let redirect = ["all", "needed", "none"][rounds % 3];
            site.reconfigure(&config(redirect));
            let began = paths(&site.stats());
            // Strangers' REGISTERs are nothing to decide about: they move to the other path and stay there.
            let path = usize::from(redirect != "all");
            wait_until("packets take the path", PATIENCE, || paths(&site.stats())[path] > began[path] + 200 || over());
            rounds += 1;
        }
        loads.into_iter().map(|load| load.join().unwrap()).collect::<Vec<_>>()
    });
    let sent: u64 = reports.iter().map(|report| report.sent).sum();
    let answered: u64 = reports.iter().map(|report| report.answered).sum();
    assert!(rounds >= 4 && sent == 2 * 6 * RATE, "{rounds} rounds, {reports:?}");
    let [redirected, kernel] =
        ["redirected", "kernel"].map(|reason| site.stats().reason(reason) - before.reason(reason));
    assert_eq!(redirected + kernel, sent, "each packet took one of the paths");
    assert!(redirected > 0 && kernel > 0, "{redirected} and {kernel}");
    assert_eq!(answered + (found_no_room(&site) - full), sent, "{reports:?}\n{}", site.stats().0);
    assert!(reports.iter().all(|report| report.duplicates + report.stray + report.send_errors == 0), "{reports:?}");
    let mut seen = BTreeMap::<String, u64>::new();
    for request in site.seen().into_iter().filter(|seen| seen.method == "REGISTER") {
        *seen.entry(request.call).or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times != 1).collect();
    assert_eq!((seen.len() as u64, twice.len()), (answered, 0), "{:?}", &twice[..twice.len().min(5)]);
}
