//! Files of packets: what `vosctl capture` writes and `vosctl explain` reads.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapParser, PcapWriteError, PcapWriter};
use pcap_file::pcapng::PcapNgParser;
use pcap_file::pcapng::blocks::Block;
use thiserror::Error;
use vos_common::state::SAMPLE_MAX;

/// The largest file that is read, bytes: it is read into memory.
pub const FILE_MAX: u64 = 256 << 20;
/// What its packets may take in memory, bytes: those that the capture cut are filled up with zeros.
pub const PACKETS_MAX: usize = 1 << 30;
/// The longest frame: what the longest IP packet makes with its Ethernet header and two VLAN tags, bytes.
pub const FRAME_MAX: usize = 65_535 + 22;

/// The file cannot be read. Every message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system says no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More than fits.
    #[error("{path}: more than {} MiB, or {} MiB of packets: cut out what matters (tcpdump -r {path} -w part.pcap 'host ADDRESS')", FILE_MAX >> 20, PACKETS_MAX >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Neither a capture nor one frame.
    #[error("{path}: {bytes} bytes are neither a capture nor one Ethernet frame (1 to {FRAME_MAX} bytes)")]
    NoFrame {
        /// The file.
        path: PathBuf,
        /// How many.
        bytes: usize,
    },
    /// Packets of something else than Ethernet.
    #[error(
        "{path}: packet {number} is of link type {link:?}, not of Ethernet: capture on one interface (tcpdump -i eth0)"
    )]
    Link {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        /// What it is of.
        link: DataLink,
    },
    /// A capture that is damaged.
    #[error("{path}: the capture is damaged or cut after packet {number}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Whole packets before.
        number: usize,
        /// What the reader said.
        what: String,
    },
}

/// A packet of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured, since 1970; `None`: the file does not say.
    pub at: Option<Duration>,
    /// From the destination MAC on. Where the capture cut it, zeros stand for the rest, so that its lengths are right.
    pub frame: Vec<u8>,
    /// Bytes that are really there.
    pub captured: usize,
}

/// The packets of a file: pcap, pcapng, or anything else taken as one Ethernet frame. Where a capture is damaged, the
/// packets before, and the error.
pub fn read(path: &Path) -> (Vec<Packet>, Option<ReadError>) {
    match load(path) {
        Ok(bytes) => parse(&bytes, path),
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn load(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(ReadError::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

/// The packets in the bytes of a file; `path` is for the messages.
pub fn parse(bytes: &[u8], path: &Path) -> (Vec<Packet>, Option<ReadError>) {
    let mut taken = Taken::default();
    let outcome = match bytes.first_chunk() {
        // times in microseconds, and in nanoseconds
        Some(
            [0xa1, 0xb2, 0xc3, 0xd4] | [0xd4, 0xc3, 0xb2, 0xa1] | [0xa1, 0xb2, 0x3c, 0x4d] | [0x4d, 0x3c, 0xb2, 0xa1],
        ) => classic(bytes, path, &mut taken),
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => next_generation(bytes, path, &mut taken),
        _ if (1..=FRAME_MAX).contains(&bytes.len()) => {
            taken.packets.push(Packet { at: None, frame: bytes.to_vec(), captured: bytes.len() });
            Ok(())
        }
        _ => Err(ReadError::NoFrame { path: path.into(), bytes: bytes.len() }),
    };
    (taken.packets, outcome.err())
}

fn damaged(path: &Path, number: usize, error: &(impl ToString + ?Sized)) -> ReadError {
    ReadError::Damaged { path: path.into(), number, what: error.to_string() }
}

fn classic(bytes: &[u8], path: &Path, taken: &mut Taken) -> Result<(), ReadError> {
    let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| damaged(path, 0, &error))?;
    let header = parser.header();
    // Nobody keeps to the snap length that the header names.
    let limit = u32::MAX;
    while !rest.is_empty() {
        let next = parser.next_raw_packet(rest).map_err(|error| damaged(path, taken.packets.len(), &error))?;
        rest = next.0;
        let packet = next.1.try_into_pcap_packet(header.ts_resolution, limit);
        let packet = packet.map_err(|error| damaged(path, taken.packets.len(), &error))?;
        let found = Found { at: Some(packet.timestamp()), data: packet.data(), length: packet.orig_len() };
        take(&found, header.datalink, path, taken)?;
    }
    Ok(())
}

/// What Wireshark saves.
fn next_generation(bytes: &[u8], path: &Path, taken: &mut Taken) -> Result<(), ReadError> {
    let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(|error| damaged(path, 0, &error))?;
    while !rest.is_empty() {
        let (after, block) = parser.next_block(rest).map_err(|error| damaged(path, taken.packets.len(), &error))?;
        rest = after;
        let Block::EnhancedPacket(packet) = &block else { continue };
        let Some(interface) = parser.packet_interface(packet) else {
            return Err(damaged(path, taken.packets.len(), "a packet of an interface that the file does not name"));
        };
        let link = interface.linktype;
        let found = Found { at: Some(packet.timestamp), data: &packet.data, length: packet.original_len };
        take(&found, link, path, taken)?;
    }
    Ok(())
}

/// The packets of a file, and what they take.
#[derive(Default)]
struct Taken {
    packets: Vec<Packet>,
    bytes: usize,
}

struct Found<'a> {
    at: Option<Duration>,
    data: &'a [u8],
    length: u32,
}

fn take(found: &Found<'_>, link: DataLink, path: &Path, taken: &mut Taken) -> Result<(), ReadError> {
    let Some(head) = ethernet_head(link, found.data) else {
        return Err(ReadError::Link { path: path.into(), number: taken.packets.len() + 1, link });
    };
    let Head { ethernet, skip } = head;
    let data = found.data.get(skip..).unwrap_or_default();
    let length = (found.length as usize).saturating_sub(skip).max(data.len()) + ethernet.len();
    let mut frame = [&ethernet, data].concat();
    let captured = frame.len();
    if captured > FRAME_MAX {
        return Err(damaged(path, taken.packets.len(), &format!("a packet of {captured} bytes")));
    }
    let length = length.min(FRAME_MAX);
    taken.bytes += length + size_of::<Packet>();
    if taken.bytes > PACKETS_MAX {
        return Err(ReadError::TooLarge { path: path.into() });
    }
    frame.resize(length, 0);
    taken.packets.push(Packet { at: found.at, frame, captured });
    Ok(())
}

/// The Ethernet header that a packet has to be given, and bytes in front of its payload that are none.
struct Head {
    ethernet: Vec<u8>,
    skip: usize,
}

/// `tcpdump -i any` writes Linux' cooked headers, which know the protocol and no destination.
fn ethernet_head(link: DataLink, data: &[u8]) -> Option<Head> {
    let cooked = |skip: usize, at: usize| {
        let protocol = data.get(at..at + 2).unwrap_or_default();
        Some(Head { ethernet: [&[0; 12], protocol].concat(), skip })
    };
    match link {
        DataLink::ETHERNET => Some(Head { ethernet: Vec::new(), skip: 0 }),
        DataLink::LINUX_SLL => cooked(16, 14),
        DataLink::LINUX_SLL2 => cooked(20, 0),
        DataLink::RAW => {
            let protocol = if data.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
            Some(Head { ethernet: [&[0; 12][..], &protocol].concat(), skip: 0 })
        }
        _ => None,
    }
}

/// Writes a classic pcap of Ethernet frames: each packet is whole in the file when [`Writer::write`] returns.
pub struct Writer<W: Write>(PcapWriter<io::BufWriter<W>>);

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(to: W) -> io::Result<Self> {
        let header = PcapHeader { snaplen: SAMPLE_MAX as u32, datalink: DataLink::ETHERNET, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(io::BufWriter::new(to), header).map_err(io_error)?;
        writer.flush().map_err(io_error)?;
        Ok(Self(writer))
    }

    /// Appends a frame that arrived at `at` (since 1970) and had `length` bytes.
    pub fn write(&mut self, at: Duration, frame: &[u8], length: u32) -> io::Result<()> {
        let frame = &frame[..frame.len().min(SAMPLE_MAX)];
        let packet = PcapPacket::new(at, length.max(frame.len() as u32), frame).map_err(io::Error::other)?;
        self.0.write_packet(&packet).map_err(io_error)?;
        self.0.flush().map_err(io_error)
    }
}

fn io_error(error: PcapWriteError) -> io::Error {
    match error {
        PcapWriteError::Io(error) | PcapWriteError::FieldWriteFailed(_, error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use vos_common::cases::{self, Packet as Made};

    use super::*;

    fn file(packets: &[(&[u8], u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).expect("memory");
        for (n, (frame, length)) in packets.iter().enumerate() {
            writer.write(Duration::from_millis(1_700_000_000_123 + n as u64), frame, *length).expect("memory");
        }
        drop(writer);
        bytes
    }

    fn read_back(bytes: &[u8]) -> (Vec<Packet>, Option<ReadError>) {
        parse(bytes, Path::new("a.pcap"))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let frame = Made::v4(cases::CALLER_V4).sip(&cases::request("INVITE")).build();
        let (packets, error) = read_back(&file(&[(&frame, frame.len() as u32), (&frame[..50], frame.len() as u32)]));
        assert!(error.is_none());
        let at = Some(Duration::from_millis(1_700_000_000_123));
        assert_eq!(packets[0], Packet { at, frame: frame.clone(), captured: frame.len() });
        // what the capture cut is zeros
        assert_eq!((packets[1].captured, packets[1].frame.len()), (50, frame.len()));
        assert_eq!((&packets[1].frame[..50], packets[1].frame[50]), (&frame[..50], 0));
    }

    #[test]
    fn tcpdump_reads_what_is_written() {
        if Command::new("tcpdump").arg("--version").output().is_err() {
            assert!(std::env::var_os("VOS_REQUIRE_ALL").is_none_or(|set| set != "1"), "this test needs tcpdump");
            return eprintln!("SKIPPED: this test needs tcpdump");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.pcap");
        let frame = Made::v4(cases::CALLER_V4).sip(&cases::request("INVITE")).build();
        std::fs::write(&path, file(&[(&frame, frame.len() as u32)])).expect("written");
        // tcpdump gives up its rights before it opens the file, unless it is told not to
        let done = Command::new("tcpdump").args(["-Z", "root", "-enttr"]).arg(&path).output().expect("runs");
        let (said, noted) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(noted.contains("link-type EN10MB (Ethernet)"), "{noted}");
        for part in ["1700000000.123000", "198.51.100.20.", " > 192.0.2.1.5060: SIP: INVITE sip:200@example.com"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert_eq!(said.lines().count(), 1);
    }

    #[test]
    fn a_file_that_is_cut_gives_what_is_whole_and_says_so() {
        let frame = Made::v4(cases::CALLER_V4).sip(b"\r\n").build();
        let bytes = file(&[(&frame, frame.len() as u32), (&frame, frame.len() as u32)]);
        for length in bytes.len() - frame.len() - 15..bytes.len() {
            let (packets, error) = read_back(&bytes[..length]);
            assert_eq!(packets.len(), 1, "{length}");
            assert!(error.expect("cut").to_string().contains("after packet 1"), "{length}");
        }
        let (packets, error) = read_back(&bytes[..10]);
        assert!(packets.is_empty() && matches!(error, Some(ReadError::Damaged { number: 0, .. })));
    }

    #[test]
    fn anything_else_is_one_frame() {
        let frame = Made::v6(cases::CALLER_V6).sip(b"\r\n").build();
        let (packets, error) = read_back(&frame);
        assert!(error.is_none());
        assert_eq!(packets, [Packet { at: None, frame: frame.clone(), captured: frame.len() }]);
        assert!(matches!(read_back(b"").1, Some(ReadError::NoFrame { bytes: 0, .. })));
        assert!(matches!(read_back(&[1; FRAME_MAX + 1]).1, Some(ReadError::NoFrame { .. })));
        assert!(matches!(read(Path::new("/nonexistent/a.pcap")).1, Some(ReadError::Io { .. })));
    }

    /// A pcapng as its specification has it (draft-ietf-opsawg-pcapng), made by hand.
    fn pcapng(link: u16, data: &[u8], length: u32) -> Vec<u8> {
        let block = |kind: u32, body: &[u8]| {
            let mut body = body.to_vec();
            body.resize(body.len().next_multiple_of(4), 0);
            let total = (body.len() as u32 + 12).to_le_bytes();
            [&kind.to_le_bytes()[..], &total, &body, &total].concat()
        };
        let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
        let interface = [&link.to_le_bytes()[..], &[0; 6]].concat();
        let us = 1_700_000_000_123_000_u64;
        let words = [0, (us >> 32) as u32, us as u32, data.len() as u32, length].map(u32::to_le_bytes).concat();
        let packet = [&words[..], data].concat();
        [block(0x0a0d_0d0a, &section), block(1, &interface), block(6, &packet)].concat()
    }

    #[test]
    fn pcapng_and_cooked_captures_are_read() {
        let frame = Made::v4(cases::CALLER_V4).sip(b"\r\n\r\n").build();
        let ip = &frame[14..];
        let bare = [&[0; 12][..], &[8, 0], ip].concat();
        let mut sll = [0; 16];
        sll[14] = 8;
        let mut sll2 = [0; 20];
        sll2[0] = 8;
        let at = Some(Duration::from_millis(1_700_000_000_123));
        for (link, data, expected) in [
            (1, frame.clone(), &frame),
            (101, ip.to_vec(), &bare),
            (113, [&sll[..], ip].concat(), &bare),
            (276, [&sll2[..], ip].concat(), &bare),
        ] {
            let (packets, error) = read_back(&pcapng(link, &data, data.len() as u32));
            assert!(error.is_none(), "{link}: {error:?}");
            assert_eq!(packets, [Packet { at, frame: expected.clone(), captured: expected.len() }], "{link}");
        }
        let (packets, error) = read_back(&pcapng(105, &frame, frame.len() as u32));
        assert!(packets.is_empty() && error.expect("802.11").to_string().contains("packet 1 is of link type"));
    }

    proptest! {
        #[test]
        fn no_file_is_a_surprise(noise in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), byte: u8, classic: bool) {
            let frame = Made::v4(cases::CALLER_V4).sip(b"\r\n").build();
            let mut bytes = if classic { file(&[(&frame, 60)]) } else { pcapng(1, &frame, 60) };
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.extend(noise);
            let (packets, _) = read_back(&bytes);
            prop_assert!(packets.iter().all(|packet| packet.frame.len() <= FRAME_MAX && packet.captured <= packet.frame.len()));
        }
    }
}
