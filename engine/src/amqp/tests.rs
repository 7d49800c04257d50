use std::net::TcpListener;

use super::*;

fn broker(url: &str) -> Broker {
    let amqp = Amqp { url: url.to_owned(), ..Amqp::default() };
    let config = Config { amqp, iface: "eth0".to_owned(), ..Config::default() };
    Broker::of(&config).expect("it has a URL")
}

fn refused(broker: &Broker) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(broker.connect()).expect_err("no broker").to_string()
}

#[test]
fn urls_are_read_as_they_are_meant() {
    for (url, user, host, port, vhost) in [
        ("amqp://192.0.2.1", "guest", "192.0.2.1", 5672, "/"),
        ("amqp://192.0.2.1/", "guest", "192.0.2.1", 5672, "/"),
        ("amqp://vos:secret@mq.example.net:5673/%2f", "vos", "mq.example.net", 5673, "/"),
        ("amqps://v%40s:s%3Ac@mq.example.net/voice", "v@s", "mq.example.net", 5671, "voice"),
        ("amqp://vos:secret@[2001:db8::1]:5673/voice", "vos", "2001:db8::1", 5673, "voice"),
        ("amqp://[2001:db8::1]", "guest", "2001:db8::1", 5672, "/"),
    ] {
        let uri = parse(url).expect(url);
        let read = (uri.authority.userinfo.username.as_str(), uri.authority.host.as_str(), uri.authority.port);
        assert_eq!((read, uri.vhost.as_str()), ((user, host, port), vhost), "{url}");
    }
}

#[test]
fn what_is_no_url_is_refused_without_the_password() {
    for url in [
        "amqp://:secret@",
        "amqp://vos:secret@:5672/",
        "amqp://vos:secret@mq.example.net:port/",
        "amqp://vos:secret@mq.example.net/%ff",
        "amqp://vos:secret@mq.example.net/?heartbeat=often",
        "amqp://vos:secret@[2001:db8::1/",
    ] {
        let why = parse(url).expect_err(url);
        assert!(!why.is_empty() && !why.contains("secret"), "{url}: {why}");
    }
}

#[test]
fn what_is_shown_of_a_broker_holds_no_password() {
    let broker = broker("amqp://vos:secret@192.0.2.1");
    assert!(!format!("{broker:?}").contains("secret"));
    assert!(broker.name.starts_with("vos-engine eth0@") && broker.name.len() > "vos-engine eth0@".len());
}

#[test]
fn who_does_not_listen_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let said = refused(&broker(&format!("amqp://vos:secret@{free}")));
    assert!(said.contains(&free.to_string()) && said.contains("refused") && said.contains("is RabbitMQ"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn files_that_do_not_do_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let (missing, empty) = (directory.path().join("missing"), directory.path().join("empty"));
    fs::write(&empty, "\n").expect("written");
    for (path, what) in [(&missing, "No such file"), (&empty, "first line is empty")] {
        let with_password = Broker { password_file: path.clone(), ..broker("amqp://127.0.0.1:1") };
        let said = refused(&with_password);
        assert!(said.contains("amqp.password_file") && said.contains(what), "{said}");
    }
    for (path, what) in [(&missing, "No such file"), (&empty, "no certificate in it")] {
        let with_ca = Broker { ca_file: path.clone(), ..broker("amqps://127.0.0.1:1") };
        let said = refused(&with_ca);
        assert!(said.contains("amqp.ca_file") && said.contains(what), "{said}");
    }
}

/// Who accepts and says nothing is left in time, and the connection to them is shut.
#[test]
fn a_silent_listener_is_left() {
    use std::io::Read as _;
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    let listener = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().expect("somebody comes");
        let mut read = Vec::new();
        let _until_it_is_shut = stream.read_to_end(&mut read);
        read
    });
    let said = refused(&broker(&format!("amqp://{address}")));
    assert!(said.contains("no answer in 5s"), "{said}");
    assert_eq!(listener.join().expect("it ended"), b"AMQP\0\0\x09\x01", "AMQP 0-9-1's header (4.2.2) and no more");
}

/// With amqps:// not one byte goes in the clear: the first is a TLS record of the handshake (RFC 8446 §5.1).
#[test]
fn amqps_begins_with_tls() {
    use std::io::Read as _;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let first = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut first = [0; 2];
        stream.read_exact(&mut first).expect("it speaks");
        first
    });
    let said = refused(&broker(&format!("amqps://{address}")));
    assert_eq!(first.join().expect("it ended"), [0x16, 0x03], "{said}");
    assert!(said.starts_with("no TLS with the broker at 127.0.0.1:"), "{said}");
}

#[test]
fn waits_double_up_to_ten_seconds_and_begin_anew() {
    let mut backoff = Backoff::default();
    for due in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000].map(Duration::from_millis) {
        let wait = backoff.wait();
        assert!(due / 2 <= wait && wait <= due, "{wait:?} of {due:?}");
    }
    backoff.held(Duration::from_secs(9));
    assert!(backoff.wait() > FIRST);
    backoff.held(Duration::from_secs(10));
    assert!(backoff.wait() <= FIRST);
    let waits: std::collections::BTreeSet<_> = (0..8).map(|_| Backoff::default().wait()).collect();
    assert!(waits.len() > 1, "not everybody comes at once: {waits:?}");
}
