//! Against std's own datagram sockets and a listener of socket2's.

use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;

use ppp::v2::Header;
use tempfile::TempDir;
use vos_common::rule::Addr;

use super::*;
use crate::transmit::End;

const CALLER: End = End { addr: Addr::v4([203, 0, 113, 7]), port: 5062 };
const HOME: End = End { addr: Addr::v4([192, 0, 2, 1]), port: 5060 };

struct Place {
    dir: TempDir,
    /// `CLOCK_MONOTONIC`, ns.
    now: u64,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), now: 1_000_000_000 }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("consumer")
    }

    fn own(&self) -> PathBuf {
        self.dir.path().join("consumer.eth0.0")
    }

    fn unix(&self, seqpacket: bool) -> Unix {
        Unix::new(&self.path(), seqpacket, "eth0", 0, Arc::default(), Secret::default())
    }

    fn listen(&self) -> UnixDatagram {
        let _the_last_one = fs::remove_file(self.path());
        UnixDatagram::bind(self.path()).unwrap()
    }

    fn listen_for_connections(&self) -> Socket {
        let _the_last_one = fs::remove_file(self.path());
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        listener.bind(&SockAddr::unix(self.path()).unwrap()).unwrap();
        listener.listen(1).unwrap();
        listener
    }

    fn send(&self, unix: &mut Unix, payload: &[u8]) -> Result<(), SendError> {
        unix.send(&Datagram { from: CALLER, to: HOME, payload, brief: None, now: self.now })
    }

    /// Long enough for another look.
    fn later(&mut self) {
        self.now += LOOK_AGAIN;
    }
}

fn got(consumer: &UnixDatagram) -> Vec<u8> {
    let mut message = vec![0; 2_048];
    let length = consumer.recv(&mut message).unwrap();
    let header = Header::try_from(&message[..length]).unwrap();
    message[header.len()..length].to_vec()
}

#[test]
fn nobody_is_looked_for_with_each_packet_and_found_when_there() {
    let mut place = Place::new();
    let mut unix = place.unix(false);
    assert!(matches!(place.send(&mut unix, b"1"), Err(SendError::Absent)));
    let consumer = place.listen();
    assert!(matches!(place.send(&mut unix, b"2"), Err(SendError::Absent)), "not at the same moment again");
    assert!(!place.own().exists(), "who is not there costs no file");
    place.later();
    place.send(&mut unix, b"3").unwrap();
    assert_eq!(got(&consumer), b"3");
    assert!(fs::symlink_metadata(place.own()).unwrap().file_type().is_socket());
    drop(unix);
    assert!(!place.own().exists(), "gone with it");
}

#[test]
fn a_restarted_consumer_gets_the_very_next_packet() {
    let place = Place::new();
    let mut unix = place.unix(false);
    let first = place.listen();
    place.send(&mut unix, b"1").unwrap();
    drop(first);
    let second = place.listen();
    place.send(&mut unix, b"2").unwrap();
    assert_eq!(got(&second), b"2");
    assert!(unix.here().is_ok());
    drop(second);
    assert!(matches!(place.send(&mut unix, b"3"), Err(SendError::Absent)));
    assert!(unix.here().is_err());
}

#[test]
fn a_heartbeat_sees_who_has_gone_and_who_has_taken_the_place() {
    let place = Place::new();
    let mut unix = place.unix(false);
    let first = place.listen();
    assert!(unix.look_after(place.now));
    // The first still listens, by another name.
    fs::rename(place.path(), place.dir.path().join("aside")).unwrap();
    let second = place.listen();
    assert!(unix.look_after(place.now));
    place.send(&mut unix, b"1").unwrap();
    assert_eq!(got(&second), b"1");
    drop((first, second));
    assert!(!unix.look_after(place.now));
    assert_eq!(unix.here().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    fs::remove_file(place.path()).unwrap();
    assert!(!unix.look_after(place.now));
    assert_eq!(unix.here().unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_full_queue_is_busy_and_no_more() {
    let place = Place::new();
    let mut unix = place.unix(false);
    let consumer = place.listen();
    let mut sent = 0;
    while place.send(&mut unix, b"fills").inspect_err(|error| assert!(matches!(error, SendError::Busy))).is_ok() {
        sent += 1;
    }
    assert!(sent > 0 && unix.look_after(place.now), "{sent}");
    assert_eq!(got(&consumer), b"fills");
    place.send(&mut unix, b"room").unwrap();
}

#[test]
fn a_connection_ends_and_begins_again() {
    let mut place = Place::new();
    let mut unix = place.unix(true);
    assert!(!unix.look_after(place.now));
    for text in [b"one", b"two"] {
        let listener = place.listen_for_connections();
        place.later();
        place.send(&mut unix, text).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        let mut message = [0; 64];
        let length = connection.read(&mut message).unwrap();
        assert_eq!(&message[length - 3..length], text);
        assert!(!place.own().exists() && unix.look_after(place.now));
        drop((connection, listener));
        // The end of a connection is told by reading.
        assert!(unix.receive(&mut [0; 64]).is_none() && unix.socket().is_none());
        assert!(!unix.look_after(place.now));
    }
}

#[test]
fn only_the_consumer_is_heard() {
    let place = Place::new();
    let mut unix = place.unix(false);
    let consumer = place.listen();
    assert!(unix.look_after(place.now));
    let stranger = UnixDatagram::unbound().unwrap();
    assert_eq!(stranger.send_to(b"hello", place.own()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let mut header = [0; HEADER_MAX];
    let length = proxy_v2::write(&mut header, &CALLER, &HOME);
    let message = [&header[..length], b"SIP/2.0 200 OK"].concat();
    consumer.send_to(b"what is no header is passed over", place.own()).unwrap();
    consumer.send_to(&message, place.own()).unwrap();
    let mut buffer = [0; 128];
    let outgoing = unix.receive(&mut buffer).unwrap();
    assert_eq!((outgoing.from, outgoing.to), (HOME, CALLER));
    assert_eq!(&buffer[outgoing.payload], b"SIP/2.0 200 OK");
    // One that is cut short by the buffer is none.
    consumer.send_to(&message, place.own()).unwrap();
    assert!(unix.receive(&mut [0; 32]).is_none());
    assert_eq!(unix.counts.to_json()["bad_replies"], 2);
}

#[test]
fn what_is_in_the_way_of_its_own_socket_is_moved_only_if_nobody_has_it() {
    let mut place = Place::new();
    let _consumer = place.listen();
    drop(UnixDatagram::bind(place.own()).unwrap());
    assert!(place.unix(false).look_after(place.now), "left by a crash");
    let other = UnixDatagram::bind(place.own()).unwrap();
    let mut unix = place.unix(false);
    assert!(!unix.look_after(place.now), "somebody is at it");
    assert_eq!(unix.here().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(other);
    fs::remove_file(place.own()).unwrap();
    fs::write(place.own(), "precious").unwrap();
    place.later();
    assert!(!unix.look_after(place.now), "no socket");
    assert_eq!(fs::read(place.own()).unwrap(), b"precious");
}
