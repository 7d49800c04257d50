//! Junk: what a SIP server on the internet is sent all day, from as many addresses as one likes, written into whole frames
//! and sent past the sender's own IP stack (packet(7)).
//!
//! Paced and open-loop: what is late is sent at once, and nobody's answer is awaited. sipp makes a few thousand calls a
//! second; this fills a wire.

mod frame;
mod mix;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::request::run_word;
use crate::schedule::Schedule;
use crate::stop::Stop;
use crate::{Error, Result};
use frame::Ends;
pub use mix::Mix;
use mix::{Piece, Senders};
use wire::{BATCH, Wire};

/// What to send, where to, how fast.
#[derive(Clone, Debug, clap::Args)]
pub struct JunkOptions {
    /// The interface that frames leave by
    #[arg(long, value_name = "NAME")]
    pub iface: String,
    /// The server: 192.0.2.1:5060 or [2001:db8::1]:5060
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: SocketAddr,
    /// The server's MAC address, or that of the router towards it
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub mac: [u8; 6],
    /// What to send
    #[arg(long, value_enum, default_value_t = Mix::Scanner)]
    pub mix: Mix,
    /// Send the frames of this capture instead (pcap or pcapng, Ethernet), as they are but for the MAC addresses
    #[arg(long, value_name = "FILE", conflicts_with = "mix")]
    pub replay: Option<PathBuf>,
    /// Packets a second; 0: as many as can be sent
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate: u64,
    /// How long to send
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// Addresses that it comes from; 0: a new one for each packet
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub sources: u64,
}

impl JunkOptions {
    /// As many scanner's OPTIONS from 200 addresses as can be sent in a second; change what differs.
    pub fn new(iface: &str, to: SocketAddr, mac: [u8; 6]) -> Self {
        let (iface, mix) = (iface.to_owned(), Mix::Scanner);
        Self { iface, to, mac, mix, replay: None, rate: 0, seconds: 1.0, sources: 200 }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JunkReport {
    /// What was sent.
    pub mix: Mix,
    /// What was asked for, packets a second; 0: as many as can be sent.
    pub rate: u64,
    /// Addresses that it came from; 0: a new one for each packet.
    pub sources: u64,
    /// Frames that left.
    pub sent: u64,
    /// How many a second did.
    pub achieved_rate: f64,
    /// Frames that the system would not take.
    pub send_errors: u64,
}

/// Sends until the time is over or `stop`. In the namespace of whoever calls it.
pub fn run(options: &JunkOptions, stop: &Stop) -> Result<JunkReport> {
    if !(0.0..=1e6).contains(&options.seconds) {
        return Err(Error::Other("--seconds must be 0 to 1,000,000".to_owned()));
    }
    let wire = Wire::open(&options.iface)?;
    let ends = Ends { from_mac: wire.mac(), to_mac: options.mac, to: options.to };
    let senders = Senders::new(options.sources, options.to.is_ipv6());
    let pieces = match &options.replay {
        Some(file) => wire::replay(file, &ends)?.into_iter().map(Piece::Fixed).collect(),
        None => options.mix.pieces(&ends, &run_word(), &senders)?,
    };
    let mut junk = Junk { wire, senders, pieces, next: 0, report: JunkReport::default() };
    let start = Instant::now();
    let time = Duration::from_secs_f64(options.seconds);
    let schedule = Schedule::lasting(options.rate, options.seconds);
    while !stop.is_set() {
        let elapsed = start.elapsed();
        let due = if options.rate > 0 { schedule.due_by(elapsed) - junk.next } else { BATCH as u64 };
        if elapsed >= time && (options.rate == 0 || due == 0) {
            break;
        }
        match due {
            0 => std::thread::sleep(schedule.due_at(junk.next).saturating_sub(elapsed)),
            due => junk.send(due.min(BATCH as u64) as usize)?,
        }
    }
    let took = start.elapsed().as_secs_f64().max(1e-9);
    let (mix, rate, sources) = (options.mix, options.rate, options.sources);
    let achieved_rate = (junk.report.sent as f64 / took).round();
    Ok(JunkReport { mix, rate, sources, achieved_rate, ..junk.report })
}

struct Junk {
    wire: Wire,
    senders: Senders,
    pieces: Vec<Piece>,
    /// The packet that is next.
    next: u64,
    report: JunkReport,
}

impl Junk {
    /// Sends the next `count` packets.
    fn send(&mut self, count: usize) -> Result<()> {
        let Self { wire, senders, pieces, next, report } = self;
        for number in *next..*next + count as u64 {
            let at = (number % pieces.len() as u64) as usize;
            match &mut pieces[at] {
                Piece::Changing(frame) => {
                    frame.set(senders.of(number), number);
                    wire.push(frame.bytes());
                }
                Piece::Fixed(frame) => wire.push(frame),
            }
        }
        *next += count as u64;
        let sent = wire.flush()?;
        report.sent += sent as u64;
        report.send_errors += (count - sent) as u64;
        Ok(())
    }
}

/// Reads `02:00:00:00:00:01`.
pub fn mac(text: &str) -> std::result::Result<[u8; 6], &'static str> {
    let wrong = "six bytes in hex, such as 02:00:00:00:00:01";
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2 && !byte.starts_with('+')))
        .collect::<Option<_>>()
        .ok_or(wrong)?;
    bytes.try_into().map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_read() {
        assert_eq!(mac("02:00:00:00:00:ff"), Ok([2, 0, 0, 0, 0, 255]));
        for wrong in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "0x:00:00:00:00:00", "+2:00:00:00:00:00"]
        {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
