//! `[scanners]`: texts that scanning tools write into User-Agent, From, To and SDP's `s=`.

use serde::{Deserialize, Serialize};
use vos_common::signature::{PatternError, Signatures};

/// `[scanners]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanners {
    /// The texts, compared without case; up to 63 of 7 to 32 printable ASCII characters.
    pub patterns: Vec<String>,
}

impl Scanners {
    /// The patterns as the kernel looks for them.
    ///
    /// # Errors
    /// Names the pattern that cannot be taken, and what may be written instead.
    pub fn compile(&self) -> Result<Box<Signatures>, String> {
        let patterns: Vec<&str> = self.patterns.iter().map(String::as_str).collect();
        let mut table = Box::new(Signatures::EMPTY);
        table.compile(&patterns).map(|()| table).map_err(|error| match position(error) {
            Some(at) => format!("{:?}: {error}", patterns.get(at).copied().unwrap_or_default()),
            None => error.to_string(),
        })
    }
}

const fn position(error: PatternError) -> Option<usize> {
    match error {
        PatternError::Length(at) | PatternError::Text(at) | PatternError::Twice(at) | PatternError::Alike(at) => {
            Some(at)
        }
        PatternError::TooMany | PatternError::Crowded => None,
    }
}

#[cfg(test)]
mod tests {
    use vos_common::cases::{CALLER_V4, NOW, Packet, World};
    use vos_common::reason::Reason;
    use vos_common::verdict::judge;

    use crate::config::Config;

    /// The default patterns' word on one message of an unknown source.
    struct Judge(World);

    impl Judge {
        fn new() -> Self {
            let mut world = World::at(NOW);
            *world.signatures = *Config::default().scanners.compile().expect("sound");
            world.config.silent = 0;
            // a source may not send so many in no time at all
            world.config.enforce = Reason::Scanner.bit();
            Self(world)
        }

        fn drops(&self, message: &str) -> bool {
            let frame = Packet::v4(CALLER_V4).sip(message.replace('\n', "\r\n").as_bytes()).build();
            judge(&frame.as_slice(), &self.0).verdict.reason == Reason::Scanner
        }
    }

    fn message(method: &str, from: &str, to: &str, agent: &str, sdp: &str) -> String {
        format!(
            "{method} sip:100@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-1;rport\n\
             From: {from}\nTo: {to}\nCall-ID: 1@198.51.100.7\nCSeq: 1 {method}\nMax-Forwards: 70\n\
             Contact: <sip:100@198.51.100.7:5060>\nUser-Agent: {agent}\nContent-Type: application/sdp\n\
             Content-Length: {}\n\n{sdp}",
            sdp.len()
        )
    }

    const FROM: &str = "\"Ann\" <sip:100@192.0.2.1>;tag=4f3a";
    const TO: &str = "<sip:100@192.0.2.1>";

    fn sdp(session: &str) -> String {
        format!("v=0\no=- 1 1 IN IP4 198.51.100.7\ns={session}\nc=IN IP4 198.51.100.7\nt=0 0\nm=audio 4000 RTP/AVP 0\n")
    }

    /// What each tool sends, by its source or by what was recorded of it: as in configs/profiles/default.toml.
    #[test]
    fn every_tool_of_the_list_is_found_by_what_it_sends() {
        let judge = Judge::new();
        let agents = [
            "friendly-scanner",
            "friendly-request",
            "sundayddr",
            "sipcli/v1.8",
            "pplsip",
            "sipptk",
            "VaxSIPUserAgent/3.1",
            "sip-scan",
            "sipscan",
            "Hacker",
            "iWar",
            "Nmap NSE",
            "A_B_C",
        ];
        for agent in agents {
            assert!(judge.drops(&message("REGISTER", FROM, TO, agent, "")), "{agent}");
            assert!(judge.drops(&message("INVITE", FROM, TO, &agent.to_uppercase(), &sdp("call"))), "{agent}");
        }
        for (from, to) in [
            ("\"sipvicious\"<sip:100@1.1.1.1>;tag=3336", "\"sipvicious\"<sip:100@1.1.1.1>"),
            ("\"sipsscuser\"<sip:100@192.0.2.1>;tag=1", TO),
            ("<sip:smap@198.51.100.7>;tag=1", "<sip:smap@localhost>"),
            (FROM, "<sip:thisisthecanary@192.0.2.1>"),
            ("SIVuS_VoIP_Scanner <sip:SIVuS@vopsecurity.org>;tag=1", TO),
            ("<sip:nm@nm>;tag=root", "<sip:nm2@nm2>"),
            ("sip:aZ3@198.51.100.7:5060;tag=70c00e8c", "sip:nobody@192.0.2.1"),
        ] {
            assert!(judge.drops(&message("OPTIONS", from, to, "x", "")), "{from} {to}");
        }
        assert!(judge.drops(&message("INVITE", FROM, TO, "x", &sdp("SIPPTS"))));
    }

    /// The names that phones, servers and test tools give themselves, as their makers document them.
    #[test]
    fn no_phone_is_taken_for_a_scanner() {
        let judge = Judge::new();
        let agents = [
            "Yealink SIP-T46S 66.86.0.15",
            "Grandstream GXP2170 1.0.11.48",
            "PolycomVVX-VVX_411-UA/5.9.5.0614",
            "Cisco/SPA504G-7.6.2c",
            "Cisco-CP8841/12.8.1",
            "Cisco-SIPGateway/IOS-15.2.4.M3",
            "snomD785/10.1.127.10",
            "Gigaset N510 IP PRO/42.258",
            "AVM FRITZ!Box 7590 154.07.57",
            "Fanvil X4U 2.6.10",
            "Htek UC926 2.0.4.8",
            "MicroSIP/3.21.3",
            "Zoiper v2.10.20.4",
            "Z 5.6.4 v2.10.20.5",
            "Linphone-Desktop/5.2.4 (pc) Debian",
            "LinphoneAndroid/5.2.5",
            "Bria 6.5.2 stamp 112",
            "X-Lite release 5.8.3",
            "eyeBeam release 3006o",
            "3CXPhone 6.0.26523.0",
            "PortSIP UC Client  Android - v12.8.6",
            "PortSIP VoIP SDK 11.2",
            "CSipSimple_a1-30/r2457",
            "Acrobits Softphone/21.4",
            "baresip v3.10.1 (x86_64/linux)",
            "PJSUA v2.14 Linux",
            "Jitsi2.10.5550Linux",
            "Asterisk PBX 20.5.0",
            "FPBX-16.0.40(18.9.0)",
            "FreeSWITCH-mod_sofia/1.10.9-release",
            "kamailio (5.6.3)",
            "OpenSIPS (3.4.2 (x86_64/linux))",
            "Ozeki VoIP SIP SDK",
            "SIPp",
            "sipsak 0.9.8.1",
            "sipexer v1.1.0",
            "TELES-SBC",
            "Oracle SBC",
            "Sonus SBC",
            "Ribbon SBC",
            "AudioCodes Mediant",
            "MERA MSIP v.3.3.1",
            "VOS3000 V2.1.8.05",
            "dble",
            "Sippy",
            "SIP Phone",
            "Custom SIP Phone",
            "SIPTAPI/1.0",
            "siproxd",
            "SmapleCorp Phone",
            "SIPClient-macOS/0.1.0",
        ];
        for agent in agents {
            for (method, body) in [("REGISTER", String::new()), ("INVITE", sdp(agent)), ("SUBSCRIBE", String::new())] {
                let from = format!("\"{agent}\" <sip:100@192.0.2.1>;tag=1");
                assert!(!judge.drops(&message(method, &from, TO, agent, &body)), "{method} of {agent}");
            }
        }
        // what tools write, where no tool writes it
        assert!(
            !judge
                .drops(&message("INVITE", FROM, TO, "x", &sdp("-")).replace("m=audio", "i=friendly-scanner\nm=audio"))
        );
        assert!(!judge.drops(&message("REGISTER", FROM, TO, "x", "").replace("1@198", "friendly-scanner@198")));
    }
}
