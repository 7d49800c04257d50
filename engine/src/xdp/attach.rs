use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{self, NlOptions, TcAttachOptions, TcHandle};
use aya::programs::xdp::XdpMode;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, loaded_links};
use aya::util::KernelVersion;
use thiserror::Error;
use tracing::{info, warn};

use super::{Filter, LoadError, PinError, pins};
use crate::config::Attach;
use crate::netlink::{Attached, Link, Netlink};

/// Pin of the XDP link.
const XDP_LINK: &str = "xdp_link";
/// Pin of the XDP program.
const XDP_PROGRAM: &str = "xdp_program";
/// Pins of the egress links, one an interface.
const EGRESS_LINK: &str = "egress_link_";
/// Our filters' place under clsact, where TCX is not: a priority nobody else uses, so that a restart finds its own.
const CLSACT_PRIORITY: u16 = 0x5605;

/// The programs cannot be attached. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Somebody else's XDP program.
    #[error(
        "{iface} has an XDP program already: {name} (id {id}). It is left alone. Unload it (ip link set dev {iface} xdp off, or its own tool), or start with --replace"
    )]
    Foreign {
        /// The interface.
        iface: String,
        /// The program's name.
        name: String,
        /// The program's id.
        id: u32,
    },
    /// The driver does not take native XDP, and native was asked for.
    #[error(
        "the driver of {iface} refuses native XDP ({source}): an MTU over about 3,500 is a common reason (ip link set dev {iface} mtu 1500); or use --xdp generic"
    )]
    Native {
        /// The interface.
        iface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("{what} on {iface}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The interface.
        iface: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another namespace's interface of the same name.
    #[error(
        "{dir} holds the programs of another interface named {iface} (another network namespace?): unload them there, or rename this interface"
    )]
    OtherNamespace {
        /// The pins.
        dir: String,
        /// The interface.
        iface: String,
    },
    /// Loading.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Pins.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// How the XDP program is on the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// In the driver?
    pub native: bool,
    /// Why not natively, where that was open.
    pub why: Option<String>,
    /// Was an engine's program replaced on its link, without a gap?
    pub replaced: bool,
}

impl Filter {
    fn refused<E>(&self, what: &'static str) -> impl FnOnce(E) -> AttachError + use<E>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let iface = self.link.name.clone();
        move |source| AttachError::Refused { what, iface, source: Box::new(source) }
    }

    /// Puts the XDP program on the interface: onto the pinned link of an engine before, or onto a new one.
    pub fn attach(&mut self, mode: Attach, replace: bool, netlink: &mut Netlink) -> Result<Attachment, AttachError> {
        let pin = self.pins.path(XDP_LINK);
        let present = netlink.link(&self.link.name).map_err(self.refused("looking for XDP programs"))?.xdp;
        let ours = present.filter(|present| Some(present.id) == pinned_program(&pin));
        if let Some(Attached { native, .. }) = ours {
            if mode == Attach::Auto || native == (mode == Attach::Native) {
                self.replace_program(&pin)?;
                self.pins.settle()?;
                return Ok(Attachment { native, why: None, replaced: true });
            }
            warn!("attached {} so far: for the change packets pass unfiltered for a moment", word(native));
        }
        if pin.exists() {
            // of the other mode, or of an interface that is gone
            std::fs::remove_file(&pin).map_err(self.refused("removing the old link"))?;
        }
        if let Some(foreign) = present.filter(|_| ours.is_none()) {
            self.evict(foreign, replace)?;
        }
        let attachment = self.attach_new(mode)?;
        self.pins.settle()?;
        Ok(attachment)
    }

    fn replace_program(&mut self, pin: &Path) -> Result<(), AttachError> {
        let refused = self.refused("replacing the XDP program on its link");
        let link = PinnedLink::from_pin(pin).map_err(self.refused("opening the pinned XDP link"))?;
        let link = FdLink::from(link).try_into().map_err(self.refused("opening the pinned XDP link"))?;
        let program = self.program()?;
        let id = program.attach_to_link(link).map_err(refused)?;
        // The pin holds the link; without this the program would take it down with itself.
        let kept = program.take_link(id);
        drop(kept.map(FdLink::try_from));
        self.pin_program()
    }

    fn attach_new(&mut self, mode: Attach) -> Result<Attachment, AttachError> {
        let (iface, index) = (self.link.name.clone(), self.link.index);
        let pin = self.pins.path(XDP_LINK);
        let program = self.program()?;
        let (link, why) = match mode {
            Attach::Generic => (attach_as(program, index, XdpMode::Skb), None),
            Attach::Native => (attach_as(program, index, XdpMode::Driver), None),
            Attach::Auto => match attach_as(program, index, XdpMode::Driver) {
                Ok(link) => (Ok(link), None),
                Err(error) => (attach_as(program, index, XdpMode::Skb), Some(error.to_string())),
            },
        };
        let generic = mode == Attach::Generic || why.is_some();
        let link = link.map_err(|source| match mode {
            Attach::Native => AttachError::Native { iface, source },
            _ => self.refused("attaching the XDP program")(source),
        })?;
        link.pin(&pin).map_err(self.refused("pinning the XDP link"))?;
        self.pin_program()?;
        Ok(Attachment { native: !generic, why, replaced: false })
    }

    fn pin_program(&mut self) -> Result<(), AttachError> {
        let path = self.pins.path(XDP_PROGRAM);
        let _there_may_be_none = std::fs::remove_file(&path);
        let refused = self.refused("pinning the XDP program");
        self.program()?.pin(path).map_err(refused)
    }

    fn evict(&mut self, foreign: Attached, replace: bool) -> Result<(), AttachError> {
        let iface = self.link.name.clone();
        if !replace {
            return Err(AttachError::Foreign { iface, name: program_name(foreign.id), id: foreign.id });
        }
        warn!("{iface}: replacing XDP program {} (id {})", program_name(foreign.id), foreign.id);
        // One attached through netlink goes this way; one on a link that another process holds does not.
        let mode = if foreign.native { "xdpdrv" } else { "xdpgeneric" };
        let off = std::process::Command::new("ip").args(["link", "set", "dev", &iface, mode, "off"]).output();
        match off {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(self.refused("taking the foreign XDP program off (a BPF link holds it: stop its owner)")(
                    io::Error::other(said),
                ))
            }
            Err(error) => Err(self.refused("running ip (apt install iproute2)")(error)),
        }
    }

    /// Takes the observer off interfaces that are not among these any more.
    pub fn keep_egress(&mut self, ifaces: &[String]) {
        let keep: Vec<_> = ifaces.iter().map(|iface| self.pins.path(&format!("{EGRESS_LINK}{iface}"))).collect();
        let pins = std::fs::read_dir(pins::Pins::directory(&self.link.name)).into_iter().flatten().flatten();
        for pin in pins.filter(|pin| pin.file_name().to_string_lossy().starts_with(EGRESS_LINK)) {
            if !keep.contains(&pin.path()) {
                let _gone_already = std::fs::remove_file(pin.path());
            }
        }
    }

    /// Puts the observer where the softswitch's replies leave.
    pub fn attach_egress(&mut self, iface: &str) -> Result<(), AttachError> {
        let pin = self.pins.path(&format!("{EGRESS_LINK}{iface}"));
        self.attach_tc("vos_egress", iface, TcAttachType::Egress, Some(&pin))
    }

    /// Puts the re-entry program on the TAP `iface`; it goes with the TAP.
    pub fn attach_relay(&mut self, iface: &str) -> Result<(), AttachError> {
        self.attach_tc("vos_relay", iface, TcAttachType::Ingress, None)
    }

    fn attach_tc(
        &mut self,
        name: &'static str,
        iface: &str,
        side: TcAttachType,
        pin: Option<&Path>,
    ) -> Result<(), AttachError> {
        let refused = |source: ProgramError| AttachError::Refused {
            what: "attaching a tc program",
            iface: iface.to_owned(),
            source: Box::new(source),
        };
        let program: &mut SchedClassifier = self
            .ebpf
            .program_mut(name)
            .ok_or(LoadError::Missing(name))?
            .try_into()
            .map_err(|source| LoadError::Program { name, source: Box::new(source) })?;
        super::load(|| program.load()).map_err(|source| LoadError::Program { name, source: Box::new(source) })?;
        if KernelVersion::current().is_ok_and(|kernel| kernel < KernelVersion::new(6, 6, 0)) {
            // "already there" is as good
            let _added = tc::qdisc_add_clsact(iface);
            let _left_by_an_engine_before = tc::qdisc_detach_program(iface, side, name);
            let options = NlOptions { priority: CLSACT_PRIORITY, handle: TcHandle::new(0, 1), ..NlOptions::default() };
            let id = program.attach_with_options(iface, side, TcAttachOptions::Netlink(options)).map_err(refused)?;
            // The filter stays until the qdisc, the interface or `unload` takes it away.
            std::mem::forget(program.take_link(id));
            return Ok(());
        }
        if let Some(old) = pin.filter(|pin| pin.exists()) {
            let replaced = PinnedLink::from_pin(old).ok().and_then(|link| {
                let link = FdLink::from(link).try_into().ok()?;
                program.attach_to_link(link).ok()
            });
            if let Some(id) = replaced {
                // The pin holds the link; without this the program would take it down with itself.
                drop(program.take_link(id).map(FdLink::try_from));
                return Ok(());
            }
            // its interface is gone
            let _dead = std::fs::remove_file(old);
        }
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        let id = program.attach_with_options(iface, side, order).map_err(refused)?;
        let link = program.take_link(id).map_err(refused)?;
        let link: FdLink = link.try_into().map_err(|error: LinkError| AttachError::Refused {
            what: "keeping a tc link",
            iface: iface.to_owned(),
            source: Box::new(error),
        })?;
        match pin {
            Some(pin) => {
                link.pin(pin).map_err(|error| AttachError::Refused {
                    what: "pinning a tc link",
                    iface: iface.to_owned(),
                    source: Box::new(error),
                })?;
            }
            // The TAP's link lives as long as the engine: its TAP does, too.
            None => self.relay_links.push(link),
        }
        Ok(())
    }
}

/// Whose XDP program is on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nobody's.
    Free,
    /// An engine's, of this network namespace.
    Ours(Attached),
    /// Somebody else's.
    Foreign {
        /// The program.
        attached: Attached,
        /// Its name.
        program: String,
        /// Is it held by a BPF link, which `ip link` cannot take away?
        link: bool,
    },
    /// Nobody's, but pins of this interface's name belong to another in another network namespace; this is their
    /// directory.
    Elsewhere(String),
}

/// Asks whose XDP program is on an interface. Needs the right to look at pins; without it, none is ours.
pub fn presence(link: &Link) -> Presence {
    if let Err(AttachError::OtherNamespace { dir, .. }) = check_owner(link) {
        return Presence::Elsewhere(dir);
    }
    let pin = pins::Pins::directory(&link.name).join(XDP_LINK);
    match link.xdp {
        None => Presence::Free,
        Some(attached) if Some(attached.id) == pinned_program(&pin) => Presence::Ours(attached),
        Some(attached) => Presence::Foreign {
            attached,
            program: program_name(attached.id),
            link: loaded_links().flatten().any(|link| link.program_id() == attached.id),
        },
    }
}

/// Has an engine left a link pinned for an interface of this name, here or in another network namespace?
pub fn is_pinned(iface: &str) -> bool {
    pins::Pins::directory(iface).join(XDP_LINK).exists()
}

const fn word(native: bool) -> &'static str {
    if native { "natively" } else { "generically" }
}

fn attach_as(program: &mut Xdp, index: u32, mode: XdpMode) -> io::Result<FdLink> {
    let io = |error: ProgramError| match error {
        ProgramError::SyscallError(call) => call.io_error,
        other => io::Error::other(other.to_string()),
    };
    let id = program.attach_to_if_index(index, mode).map_err(io)?;
    let link = program.take_link(id).map_err(io)?;
    link.try_into().map_err(|error: LinkError| io::Error::other(error.to_string()))
}

/// The id of the program on a pinned link.
fn pinned_program(pin: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(pin).ok()?);
    link.info().ok().map(|info| info.program_id())
}

/// Refuses pins that belong to a living interface which is not this one.
pub(super) fn check_owner(link: &Link) -> Result<(), AttachError> {
    let dir = pins::Pins::directory(&link.name);
    let pin = dir.join(XDP_LINK);
    // A link whose interface went has index 0.
    let alive = crate::sys::pinned_xdp_interface(&pin).is_ok_and(|index| index != 0);
    if alive && link.xdp.map(|xdp| xdp.id) != pinned_program(&pin) {
        return Err(AttachError::OtherNamespace { dir: dir.display().to_string(), iface: link.name.clone() });
    }
    Ok(())
}

fn program_name(id: u32) -> String {
    let programs = aya::programs::loaded_programs();
    named(id, programs.map(|program| program.map(|program| (program.id(), program.name_as_str().map(str::to_owned)))))
}

/// The name of the program with this id, of all that are loaded.
fn named(id: u32, programs: impl Iterator<Item = Result<(u32, Option<String>), ProgramError>>) -> String {
    for program in programs {
        match program {
            Ok((found, name)) if found == id => return name.unwrap_or_else(|| "unnamed".to_owned()),
            // bpf(2) walks programs for CAP_SYS_ADMIN alone, which the unit does not grant.
            Err(ProgramError::SyscallError(call)) if call.io_error.kind() == io::ErrorKind::PermissionDenied => {
                return format!(
                    "unnamed for want of CAP_SYS_ADMIN, `bpftool prog show id {id}` or `vosctl doctor` names it"
                );
            }
            // Another one may have ended meanwhile.
            Ok(_) | Err(_) => {}
        }
    }
    "unnamed".to_owned()
}

/// Takes everything away that an engine left on `iface`; says what that was. Refused while one runs.
pub fn unload(iface: &str) -> Result<Vec<String>, PinError> {
    let mut removed = pins::remove_all(iface)?;
    if tc::qdisc_detach_program(iface, TcAttachType::Egress, "vos_egress").is_ok() {
        removed.push("clsact filter vos_egress".to_owned());
    }
    info!("{iface}: removed {}", removed.join(", "));
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn a_foreign_program_is_named_or_how_to_see_it() {
        let failed = |errno: i32| {
            let io_error = io::Error::from_raw_os_error(errno);
            Err(ProgramError::SyscallError(SyscallError { call: "bpf_prog_get_next_id", io_error }))
        };
        let loaded =
            || vec![Ok((6, None)), failed(libc::ENOENT), Ok((7, Some("xdp_dispatcher".to_owned())))].into_iter();
        assert_eq!(named(7, loaded()), "xdp_dispatcher");
        assert_eq!(named(6, loaded()), "unnamed");
        assert_eq!(named(8, loaded()), "unnamed");
        let told = named(7, [failed(libc::EPERM)].into_iter());
        assert!(told.contains("bpftool prog show id 7"), "{told}");
        let error = AttachError::Foreign { iface: "eth0".into(), name: told, id: 7 }.to_string();
        assert!(error.contains("(id 7). It is left alone") && error.contains("vosctl doctor"), "{error}");
    }
}
