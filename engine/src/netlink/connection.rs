use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// Room for a part of an answer, bytes: the kernel sends no more than 32 KiB at once (`NLMSG_GOODSIZE`).
const ROOM: usize = 64 * 1024;

/// A connection to one of the kernel's netlink protocols (`netlink(7)`).
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    buffer: Vec<u8>,
    /// Number of the last question: answers carry it.
    sequence: u32,
}

impl Connection {
    /// In the network namespace of this thread; `protocol` is one of `netlink_sys::protocols`.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: Vec::with_capacity(ROOM), sequence: 0 })
    }

    /// Asks, and gives all of the answer. With `NLM_F_DUMP` it may be of many messages; those that cannot be read are
    /// passed over.
    pub(crate) fn ask<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
        NetlinkPayload<M>: From<M>,
    {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        self.sequence = self.sequence.wrapping_add(1);
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (mut answer, many) = (Vec::new(), flags & NLM_F_DUMP == NLM_F_DUMP);
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            // struct nlmsghdr: length, type, flags, sequence, port
            while let Some(length) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize) {
                let (message, next) = rest.split_at(length.next_multiple_of(4).clamp(4, rest.len()));
                rest = next;
                let sequence = message.get(8..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_ne_bytes(*bytes));
                // An answer to a question that was given up.
                if sequence != Some(self.sequence) {
                    continue;
                }
                let got = match NetlinkMessage::<M>::deserialize(message) {
                    Ok(got) => got,
                    // Of many, one that the crate cannot read says nothing of what is asked for here.
                    Err(_) if many => continue,
                    Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                };
                match got.payload {
                    NetlinkPayload::Done(_) => return Ok(answer),
                    NetlinkPayload::Error(error) => {
                        return error.code.map_or(Ok(answer), |_| Err(error.to_io()));
                    }
                    NetlinkPayload::InnerMessage(inner) => answer.push(inner),
                    _ => {}
                }
            }
            if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 && !answer.is_empty() {
                return Ok(answer);
            }
        }
    }
}
