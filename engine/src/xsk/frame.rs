use xsk_rs::FrameDesc;

/// One frame of a UMEM with a packet in it. Whoever has it, owns it: neither `Copy` nor `Clone`, and only
/// [`Queue::release`](super::Queue::release) takes it back.
#[must_use = "a frame that is dropped is lost to the UMEM: give it back with Queue::release"]
#[derive(Debug)]
pub struct Frame {
    desc: FrameDesc,
}

impl Frame {
    /// A frame from what the kernel wrote into the RX ring, checked in every build: `None` if it does not lie in one
    /// chunk of the UMEM.
    pub(super) fn received(desc: FrameDesc, chunk: usize, frames: usize) -> Option<Self> {
        let within = desc.addr() % chunk;
        let fits = desc.addr() / chunk < frames && within + desc.lengths().data() <= chunk;
        fits.then_some(Self { desc })
    }

    /// A free frame, which whoever gave it back had received.
    pub(super) fn taken(desc: FrameDesc) -> Self {
        Self { desc }
    }

    pub(super) fn desc(&self) -> &FrameDesc {
        &self.desc
    }

    pub(super) fn into_desc(self) -> FrameDesc {
        self.desc
    }

    /// Length of the packet, bytes.
    pub fn len(&self) -> usize {
        self.desc.lengths().data()
    }

    /// Is there no packet in it?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
