use serde_json::{Value, json};
use vos_common::rule::Addr;

use super::UdpSocket;
use crate::xdp::addr;

/// A socket is behind from this share of its buffer on: a half. The kernel drops when all of it is full, and up to a
/// quarter may be full of what is read already (`udp_rmem_release`). Higher, and bursts are lost before the next look;
/// lower, and a burst that would have been read in time costs calls.
pub const HIGH: (u64, u64) = (1, 2);
/// And is so until less than this share waits: a quarter. Lower, and the softswitch runs out of work; higher, and it goes
/// back and forth.
pub const LOW: (u64, u64) = (1, 4);

/// The sockets as they were seen last, each with: is it behind?
#[derive(Clone, Debug, Default)]
pub struct Gauge(Vec<(UdpSocket, bool)>);

impl Gauge {
    /// They have been looked at again.
    pub fn look(&mut self, sockets: Vec<UdpSocket>) {
        let seen = sockets.into_iter().map(|socket| {
            let before = self.0.iter().find(|(before, _)| before.cookie == socket.cookie);
            let dropped = before.is_some_and(|(before, _)| before.dropped != socket.dropped);
            let was_pressed = before.is_some_and(|(_, pressed)| *pressed);
            // The kernel counts datagrams with a wrong checksum as dropped, too, which anybody can send: it is behind only
            // if something waits as well.
            let (share, of) = if was_pressed || dropped { LOW } else { HIGH };
            let full = u64::from(socket.queued) * of >= u64::from(socket.buffer) * share;
            let pressed = full && socket.queued > 0;
            (socket, pressed)
        });
        self.0 = seen.collect();
    }

    /// Is one behind?
    pub fn is_pressed(&self) -> bool {
        self.0.iter().any(|(_, pressed)| *pressed)
    }

    /// Of those that are behind the one with most in it.
    pub fn worst(&self) -> Option<&UdpSocket> {
        let pressed = self.0.iter().filter(|(_, pressed)| *pressed);
        pressed.map(|(socket, _)| socket).max_by_key(|socket| socket.queued)
    }

    /// What workers go by.
    pub fn pressed(&self) -> Pressed {
        if !self.is_pressed() {
            return Pressed::default();
        }
        let listener = |(socket, pressed): &(UdpSocket, bool)| Listener {
            addr: addr(socket.local.ip()),
            port: socket.local.port(),
            pressed: *pressed,
        };
        Pressed(self.0.iter().map(listener).collect())
    }

    /// Each socket, as it was seen last.
    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.0.iter().map(|(socket, _)| socket)
    }

    /// Each socket, for `vosctl stats`.
    pub fn to_json(&self) -> Vec<Value> {
        let one = |(socket, pressed): &(UdpSocket, bool)| {
            let UdpSocket { local, queued, buffer, dropped, .. } = socket;
            json!({ "local": local, "queued": queued, "buffer": buffer, "dropped": dropped, "pressed": pressed })
        };
        self.0.iter().map(one).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    addr: Addr,
    port: u16,
    pressed: bool,
}

/// All sockets on the SIP ports while one of them is behind; nothing while none is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pressed(Vec<Listener>);

impl Pressed {
    /// Is none behind?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// May a packet to this address get to a socket that is behind, to whatever port?
    pub fn may_hold(&self, to: &Addr) -> bool {
        let choices = choices(to);
        self.0.iter().any(|one| one.pressed && choices.contains(&Some(one.addr)))
    }

    /// Is the socket behind that a packet to this address and port gets to? That is the one of this very address, else
    /// one of any address; IPv4 packets get to `[::]` as well. Where several share it (SO_REUSEPORT), all of them must
    /// be: which of them a packet gets to is the kernel's choice, and one that hangs must not hold up the others.
    pub fn holds(&self, to: &Addr, port: u16) -> bool {
        let there = |addr: &Addr| self.0.iter().any(|one| one.port == port && one.addr == *addr);
        let taken = choices(to).into_iter().flatten().find(there);
        taken.is_some_and(|addr| {
            let mut sharing = self.0.iter().filter(|one| one.port == port && one.addr == addr);
            sharing.all(|one| one.pressed)
        })
    }
}

/// The addresses of sockets that a packet to this one may get to, the nearest first.
fn choices(to: &Addr) -> [Option<Addr>; 3] {
    let any_v4 = to.is_v4().then(|| Addr::v4([0; 4]));
    [Some(*to), any_v4, Some(Addr::from_bytes([0; 16]))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(cookie: u64, local: &str, queued: u32, dropped: u32) -> UdpSocket {
        UdpSocket { local: local.parse().expect("a socket address"), cookie, inode: 0, queued, buffer: 1_000, dropped }
    }

    #[test]
    fn it_is_behind_from_the_half_down_to_the_quarter() {
        let mut gauge = Gauge::default();
        let looks = [0, 499, 500, 900, 250, 249, 499, 500, 0];
        let pressed: Vec<bool> = looks
            .into_iter()
            .map(|queued| {
                gauge.look(vec![socket(1, "192.0.2.1:5060", queued, 0)]);
                assert_eq!(gauge.is_pressed(), gauge.worst().is_some());
                assert_eq!(gauge.is_pressed(), !gauge.pressed().is_empty());
                gauge.is_pressed()
            })
            .collect();
        assert_eq!(pressed, [false, false, true, true, true, false, false, true, false]);
    }

    #[test]
    fn what_was_dropped_since_the_last_look_is_pressure_where_a_quarter_waits() {
        let mut gauge = Gauge::default();
        let mut look = |cookie, queued, dropped| {
            gauge.look(vec![socket(cookie, "192.0.2.1:5060", queued, dropped)]);
            gauge.is_pressed()
        };
        // what a socket had dropped before it was first seen says nothing
        assert!(!look(1, 250, 7) && !look(1, 250, 7) && look(1, 250, 8) && !look(1, 249, 8));
        assert!(!look(2, 250, 0) && look(2, 250, u32::MAX));
        // Datagrams with a wrong checksum: whoever sends them holds nobody up.
        assert!(!look(3, 0, 0) && !look(3, 0, 1) && !look(3, 249, 2));
        gauge.look(Vec::new());
        assert!(!gauge.is_pressed(), "its socket is closed");
    }

    #[test]
    fn a_packet_is_held_up_by_the_socket_that_it_gets_to() {
        let to = |text: &str| addr(text.parse().expect("an address"));
        let full = |cookie, local| socket(cookie, local, 900, 0);
        let free = |cookie, local| socket(cookie, local, 10, 0);
        let holds = |sockets: &[UdpSocket], addr: &str, port| {
            let mut gauge = Gauge::default();
            gauge.look(sockets.to_vec());
            gauge.pressed().holds(&to(addr), port)
        };
        let one = [full(1, "192.0.2.1:5060"), free(2, "0.0.0.0:5060")];
        assert!(holds(&one, "192.0.2.1", 5060));
        assert!(!holds(&one, "192.0.2.2", 5060) && !holds(&one, "192.0.2.1", 5070));
        let any = [free(1, "192.0.2.1:5060"), full(2, "0.0.0.0:5060")];
        assert!(!holds(&any, "192.0.2.1", 5060) && holds(&any, "192.0.2.2", 5060) && !holds(&any, "2001:db8::1", 5060));
        let both = [full(1, "[::]:5060")];
        assert!(holds(&both, "192.0.2.1", 5060) && holds(&both, "2001:db8::1", 5060));
        // one of two that share it hangs
        let sharing = [full(1, "192.0.2.1:5060"), free(2, "192.0.2.1:5060")];
        assert!(!holds(&sharing, "192.0.2.1", 5060));
        assert!(holds(&[full(1, "192.0.2.1:5060"), full(2, "192.0.2.1:5060")], "192.0.2.1", 5060));
        assert!(!Pressed::default().holds(&to("192.0.2.1"), 5060));
    }
}
