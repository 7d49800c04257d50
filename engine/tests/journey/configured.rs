use crate::registrar::Phones;
use crate::site::{CALLER, OTHER, SERVER4, Script, Site};

/// As it is shipped: it has this server's address.
const LOOPBACK: [&str; 1] = [include_str!("../../../configs/kamailio/loopback.cfg")];

#[test]
fn phones_call_each_other_by_the_configuration_for_kamailio() {
    if !vos_bench::ready(&["kamailio", "sipp", "ip"]) {
        return;
    }
    let site = Site::builder().server(Script::whole(&LOOPBACK)).start();
    let mut phones = Phones::start(&site);
    phones.call();
    phones.end();
    let seen = site.seen();
    assert!(seen.iter().any(|seen| seen.source.ip() == CALLER && seen.method == "INVITE"), "by its own address");

    // of two addresses that ask at once none has the other's nonce, so that guessers are told apart (docs/policy.md)
    let nonces = [CALLER, OTHER].map(|from| {
        let phone = site.phone(from);
        let request = format!(
            "REGISTER sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{from}\r\nFrom: <sip:1000@pbx.example>;tag=1\r\n\
             To: <sip:1000@pbx.example>\r\nCall-ID: nonce-{from}\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
            phone.local_addr().unwrap()
        );
        phone.send_to(request.as_bytes(), (SERVER4, 5060)).unwrap();
        let mut reply = [0; 2_048];
        let length = phone.recv(&mut reply).expect("a challenge");
        let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
        let nonce = reply.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next());
        nonce.unwrap_or_else(|| panic!("{reply}")).to_owned()
    });
    assert_ne!(nonces[0], nonces[1]);
}
