use xsk_rs::{FrameDesc, Umem};

use super::Frame;

/// The frames of one UMEM, and where each of them is. Rings are its users' business.
#[derive(Debug)]
pub struct Frames {
    umem: Umem,
    chunk: usize,
    all: usize,
    free: Vec<FrameDesc>,
    /// Frames that the kernel has to receive into.
    kernel: usize,
    /// Frames to be sent, not yet in the TX ring.
    outgoing: Vec<FrameDesc>,
    /// Frames in the TX ring, with the driver, or in the completion ring.
    sending: usize,
    /// Frames that `outgoing` and `sending` may be together: what TX ring and completion ring hold.
    slots: usize,
    /// Descriptors from the kernel that lay outside the UMEM.
    bad: u64,
}

impl Frames {
    /// All `free` frames of `umem`, whose chunks have so many bytes; up to `slots` of them may be on their way out at a
    /// time.
    pub fn new(umem: Umem, free: Vec<FrameDesc>, chunk: usize, slots: usize) -> Self {
        let (all, outgoing) = (free.len(), Vec::with_capacity(slots));
        Self { umem, chunk, all, free, kernel: 0, outgoing, sending: 0, slots, bad: 0 }
    }

    /// The packet in a frame.
    pub fn packet(&mut self, frame: &mut Frame) -> &mut [u8] {
        let length = frame.len();
        &mut self.room(frame)[..length]
    }

    /// All bytes of a frame that a packet may take, from where its packet begins: at least as many as the longest frame
    /// that is redirected ([`chunk_for`](super::chunk_for)).
    pub fn room(&mut self, frame: &mut Frame) -> &mut [u8] {
        let mut desc = *frame.desc();
        let room = self.chunk - desc.addr() % self.chunk;
        // SAFETY: the frame is this UMEM's (checked when it was received), the caller owns it, and the slice borrows
        // both the frames and the frame, so there is no other.
        let mut data = unsafe { self.umem.data_mut(&mut desc) };
        data.cursor().set_pos(room);
        let (pointer, length) = (data.contents_mut().as_mut_ptr(), data.len().min(room));
        // SAFETY: as above; the descriptor on the stack only carried address and length.
        unsafe { std::slice::from_raw_parts_mut(pointer, length) }
    }

    /// A free frame, to build a packet in.
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop().map(Frame::taken)
    }

    /// Is there room for one more on the way out?
    pub fn has_slot(&self) -> bool {
        self.sending() < self.slots
    }

    /// Sends the first `length` bytes of a frame with the next [`flush`](super::Queue::flush). Gives the frame back where
    /// there is no room in the TX ring.
    pub fn transmit(&mut self, frame: Frame, length: usize) -> Result<(), Frame> {
        if !self.has_slot() {
            return Err(frame);
        }
        let mut desc = frame.into_desc();
        // SAFETY: the frame is this UMEM's and was the caller's, who has given it away.
        unsafe { self.umem.data_mut(&mut desc) }.cursor().set_pos(length);
        self.outgoing.push(desc);
        Ok(())
    }

    /// Takes a frame back.
    pub fn release(&mut self, frame: Frame) {
        self.free.push(frame.into_desc());
    }

    /// Frames that anybody may have.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Frames that the kernel has to receive into.
    pub fn receiving(&self) -> usize {
        self.kernel
    }

    /// Frames on their way out.
    pub fn sending(&self) -> usize {
        self.outgoing.len() + self.sending
    }

    /// Frames that may be on their way out at a time.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Frames that are neither free nor with the kernel nor on their way out, of all: what somebody holds (0 when nobody
    /// should).
    pub fn held(&self) -> usize {
        self.all.saturating_sub(self.free() + self.receiving() + self.sending())
    }

    /// Descriptors from the kernel that lay outside the UMEM: a driver's fault, each a frame lost.
    pub fn bad_descriptors(&self) -> u64 {
        self.bad
    }

    /// Gives the kernel up to `room` free frames to receive into; `produce` tells how many of them it took, from the first
    /// one on.
    pub fn give(&mut self, room: usize, produce: impl FnOnce(&[FrameDesc]) -> usize) {
        let room = room.min(self.free.len());
        if room == 0 {
            return;
        }
        let from = self.free.len() - room;
        let taken = produce(&self.free[from..]).min(room);
        // What is left of those moves down.
        self.free.drain(from..from + taken);
        self.kernel += taken;
    }

    /// Takes packets that the kernel has received.
    ///
    /// # Safety
    ///
    /// The kernel had these frames and has no more to do with them.
    pub unsafe fn receive(&mut self, descs: &[FrameDesc], batch: &mut Vec<Frame>) {
        self.kernel = self.kernel.saturating_sub(descs.len());
        for desc in descs {
            match Frame::received(*desc, self.chunk, self.all) {
                Some(frame) => batch.push(frame),
                None => self.bad += 1,
            }
        }
    }

    /// Gives the kernel what is to be sent; `produce` tells how many it took, from the first one on.
    pub fn send(&mut self, produce: impl FnOnce(&[FrameDesc]) -> usize) {
        if self.outgoing.is_empty() {
            return;
        }
        let taken = produce(&self.outgoing).min(self.outgoing.len());
        self.outgoing.drain(..taken);
        self.sending += taken;
    }

    /// Takes frames back that the kernel has sent.
    ///
    /// # Safety
    ///
    /// The kernel had these frames and has no more to do with them.
    pub unsafe fn complete(&mut self, descs: &[FrameDesc]) {
        self.sending = self.sending.saturating_sub(descs.len());
        for desc in descs {
            match Frame::received(*desc, self.chunk, self.all) {
                Some(frame) => self.release(frame),
                None => self.bad += 1,
            }
        }
    }
}
