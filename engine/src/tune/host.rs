//! This machine: where each knob is read, written, and how an operator would write it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::TuneError;
use super::setting::{Knob, Value};
use crate::config::CoreList;
use crate::ethtool::{
    Change, Channels, Coalescing, Ethtool, Feature, NTUPLE, PortRule, Refused, Rings, Rules, Udp, even_table,
    is_unsupported,
};
use crate::netlink::Netlink;

/// The queue to which rules of a profile take SIP.
pub(super) const OWN_QUEUE: u32 = 0;

/// Why a knob is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// This machine has none: nothing is wrong.
    Absent(String),
    /// It should be there.
    Failed(String),
}

/// Why a knob is not set, with the command and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unset {
    /// The driver has no such thing, which it does not say before.
    Unsupported(String),
    /// The kernel said no.
    Refused(String),
}

impl From<Refused> for Unset {
    fn from(refused: Refused) -> Self {
        if refused.is_unsupported() {
            Self::Unsupported(refused.to_string())
        } else {
            Self::Refused(refused.to_string())
        }
    }
}

/// What can be read and written; a test puts its own in between.
pub trait Machine {
    /// What a knob is set to.
    fn read(&self, knob: &Knob) -> Result<Value, Unread>;
    /// Sets it; else the reason, with the command and its message.
    fn write(&self, knob: &Knob, value: &Value) -> Result<(), Unset>;
}

/// What a card is asked and told; a test has one of its own. Each as [`Ethtool`] has it.
pub trait Card: fmt::Debug {
    /// Name of the driver.
    fn driver(&self) -> io::Result<String>;
    /// An offload.
    fn feature(&self, name: &str) -> io::Result<Option<Feature>>;
    /// The queues.
    fn channels(&self) -> io::Result<Channels>;
    /// The rings' lengths.
    fn rings(&self) -> io::Result<Rings>;
    /// When it interrupts.
    fn coalescing(&self) -> io::Result<Coalescing>;
    /// Queues among which RSS chooses.
    fn rss_queues(&self) -> io::Result<u32>;
    /// RSS' table.
    fn rss_table(&self) -> io::Result<Vec<u32>>;
    /// Writes it as it was read.
    fn set_rss_table(&self, table: &[u32]) -> io::Result<()>;
    /// By what RSS chooses for UDP.
    fn hash_fields(&self, udp: Udp) -> io::Result<u64>;
    /// Rules for flows.
    fn rules(&self) -> io::Result<Rules>;
    /// Everything else that is changed.
    fn make(&self, change: &Change) -> Result<(), Refused>;
}

impl Card for Ethtool {
    fn driver(&self) -> io::Result<String> {
        self.driver()
    }

    fn feature(&self, name: &str) -> io::Result<Option<Feature>> {
        self.feature(name)
    }

    fn channels(&self) -> io::Result<Channels> {
        self.channels()
    }

    fn rings(&self) -> io::Result<Rings> {
        self.rings()
    }

    fn coalescing(&self) -> io::Result<Coalescing> {
        self.coalescing()
    }

    fn rss_queues(&self) -> io::Result<u32> {
        self.rss_queues()
    }

    fn rss_table(&self) -> io::Result<Vec<u32>> {
        self.rss_table()
    }

    fn set_rss_table(&self, table: &[u32]) -> io::Result<()> {
        self.set_rss_table(table)
    }

    fn hash_fields(&self, udp: Udp) -> io::Result<u64> {
        self.hash_fields(udp)
    }

    fn rules(&self) -> io::Result<Rules> {
        self.rules()
    }

    fn make(&self, change: &Change) -> Result<(), Refused> {
        change.make(self.name())
    }
}

/// The machine, seen from one interface.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    iface: String,
    card: Box<dyn Card>,
    /// Its index, by which the journal knows it; 0: it is no more.
    pub index: u32,
    /// Why `/sys/class/net/IFACE` is not this interface.
    sysfs: Option<String>,
}

/// What is done to set a knob.
#[derive(Debug)]
enum Way {
    /// A line into a file.
    File(PathBuf, String),
    /// The same, by `sysctl -w`.
    Sysctl(String, PathBuf, String),
    /// `ethtool`, one after the other.
    Ethtool(Vec<Change>),
    /// RSS' table as it is.
    Table(Vec<u32>),
}

impl Host {
    /// `iface` in the network namespace of this thread; files are those under `root`, which is `/`.
    pub fn open(iface: &str, root: &Path) -> Result<Self, TuneError> {
        let ethtool = Ethtool::open(iface).map_err(|source| none(iface, source))?;
        Self::with_card(iface, root, Box::new(ethtool))
    }

    /// The same with this card.
    pub(super) fn with_card(iface: &str, root: &Path, card: Box<dyn Card>) -> Result<Self, TuneError> {
        let link = Netlink::open().and_then(|mut netlink| netlink.link(iface)).map_err(|source| none(iface, source))?;
        let mut host = Self { root: root.into(), iface: iface.to_owned(), card, index: link.index, sysfs: None };
        let file = host.device("ifindex");
        host.sysfs = match fs::read_to_string(&file) {
            Ok(text) if text.trim() == link.index.to_string() => None,
            Ok(_) | Err(_) => Some(format!(
                "{} shows another network namespace: run this by `ip netns exec`",
                file.parent().unwrap_or(&file).display()
            )),
        };
        Ok(host)
    }

    /// The machine as seen from an interface that is no more: only what is the machine's can be read and written.
    pub fn without(iface: &str, root: &Path) -> Result<Self, TuneError> {
        let card = Ethtool::open(iface).map_err(|source| none(iface, source))?;
        let sysfs = Some(format!("there is no interface {iface} any more"));
        Ok(Self { root: root.into(), iface: iface.to_owned(), card: Box::new(card), index: 0, sysfs })
    }

    /// Is there an interface of this name in the network namespace of this thread? One that cannot be asked for is there.
    pub fn has(&self, iface: &str) -> bool {
        let link = Netlink::open().and_then(|mut netlink| netlink.link(iface));
        !link.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Its name.
    pub fn iface(&self) -> &str {
        &self.iface
    }

    /// Its card.
    pub fn card(&self) -> &dyn Card {
        &*self.card
    }

    /// A path on this machine.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    fn device(&self, file: &str) -> PathBuf {
        self.path(&format!("/sys/class/net/{}/{file}", self.iface))
    }

    fn line(&self, absolute: &str) -> Option<String> {
        fs::read_to_string(self.path(absolute)).ok().map(|text| text.trim().to_owned())
    }

    /// Which start of the machine this is; what the kernel holds goes with it.
    pub fn boot_id(&self) -> String {
        self.line("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    }

    /// CPUs in use.
    pub fn online(&self) -> Result<CoreList, TuneError> {
        let path = "/sys/devices/system/cpu/online";
        let unreadable = |source| TuneError::Unreadable { what: path.to_owned(), source };
        let text = fs::read_to_string(self.path(path)).map_err(unreadable)?;
        text.trim().parse().map_err(|error| unreadable(io::Error::other(error)))
    }

    /// A CPU and those that share its core; itself where nobody knows.
    pub fn siblings(&self, cpu: usize) -> Vec<usize> {
        let text = self.line(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
        let list = text.and_then(|text| text.parse::<CoreList>().ok());
        list.map_or_else(|| vec![cpu], |list| list.cores().to_vec())
    }

    /// The numbers of the card's interrupts, whether they are in use or not.
    fn vectors(&self) -> BTreeSet<u32> {
        if self.sysfs.is_some() {
            return BTreeSet::new();
        }
        let Ok(device) = fs::canonicalize(self.device("device")) else { return BTreeSet::new() };
        // virtio_net is a device on a PCI device, which has the interrupts
        let directories = [Some(device.as_path()), device.parent()].into_iter().flatten();
        let entries = directories.map(|device| device.join("msi_irqs")).find_map(|path| fs::read_dir(path).ok());
        let entries = entries.into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The card's interrupts: number, name, and the queue whose it is.
    pub fn interrupts(&self) -> Vec<(u32, String, u32)> {
        let mut found: Vec<_> = self
            .vectors()
            .into_iter()
            .filter_map(|number| {
                let name = self.interrupt_name(number)?;
                queue_of(&name).map(|queue| (number, name, queue))
            })
            .collect();
        found.sort_by_key(|(number, _, queue)| (*queue, *number));
        found
    }

    /// Why the queues have no interrupts yet: many drivers (igb, ixgbe, i40e, ice, ena) ask for them when the interface is
    /// set up. `None`: they have some, or will have none.
    pub fn interrupts_await(&self) -> Option<String> {
        const IFF_UP: u32 = 1;
        let flags = self.line(&format!("/sys/class/net/{}/flags", self.iface))?;
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        let is_down = flags & IFF_UP == 0 && !self.vectors().is_empty() && self.interrupts().is_empty();
        let iface = &self.iface;
        is_down.then(|| {
            format!(
                "{iface} is down, and its queues have interrupts when it is up: ip link set {iface} up, then this again"
            )
        })
    }

    fn interrupt_name(&self, number: u32) -> Option<String> {
        let table = fs::read_to_string(self.path("/proc/interrupts")).ok()?;
        table.lines().find_map(|line| {
            let (first, rest) = line.split_once(':')?;
            (first.trim().parse() == Ok(number)).then(|| rest.split_whitespace().next_back().map(str::to_owned))?
        })
    }

    /// Is a process of this name there?
    pub fn runs(&self, name: &str) -> bool {
        let processes = fs::read_dir(self.path("/proc")).into_iter().flatten().flatten();
        processes
            .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
            .any(|entry| fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name))
    }

    /// Is there a systemd unit of this name?
    pub fn has_unit(&self, name: &str) -> bool {
        let directories =
            ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
        directories.iter().any(|directory| self.path(&format!("{directory}/{name}.service")).is_file())
    }

    /// The governors that a CPU's driver offers.
    pub fn governors(&self, cpu: u32) -> Option<Vec<String>> {
        let text = self.line(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_available_governors"))?;
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    /// What the card's queues are, and can be.
    pub fn channels(&self) -> io::Result<Channels> {
        self.card.channels()
    }

    /// How long its rings are, and can be.
    pub fn rings(&self) -> io::Result<Rings> {
        self.card.rings()
    }

    /// The file of a knob that is one.
    fn file(&self, knob: &Knob) -> Option<PathBuf> {
        match knob {
            Knob::Device(file) => Some(self.device(file)),
            Knob::Irq { number, .. } => Some(self.path(&format!("/proc/irq/{number}/smp_affinity_list"))),
            Knob::Governor(cpu) => {
                Some(self.path(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")))
            }
            Knob::Sysctl(key) => Some(self.path(&format!("/proc/sys/{}", key.replace('.', "/")))),
            _ => None,
        }
    }

    fn read_file(&self, knob: &Knob, file: &Path) -> Result<Value, Unread> {
        if let (Knob::Device(_), Some(why)) = (knob, &self.sysfs) {
            return Err(Unread::Failed(why.clone()));
        }
        if let Knob::Irq { number, name } = knob
            && self.interrupt_name(*number).as_ref() != Some(name)
        {
            return Err(Unread::Absent("this interrupt is there no longer".into()));
        }
        // The kernel shows sysctls of the whole machine in every network namespace, and takes them in the first alone.
        let is_shown = |file: &Path| fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o222 == 0);
        if matches!(knob, Knob::Sysctl(_)) && is_shown(file) {
            return Err(Unread::Absent("only the host's own network namespace can set it".into()));
        }
        match fs::read_to_string(file) {
            Ok(text) => Ok(Value::Text(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unread::Absent(match knob {
                Knob::Sysctl(key) if key.contains("conntrack") => "conntrack is not loaded".into(),
                Knob::Governor(_) => "the clock of this CPU is not Linux' to choose (no cpufreq)".into(),
                _ => format!("there is no {}", file.display()),
            })),
            Err(error) => Err(Unread::Failed(format!("{}: {error}", file.display()))),
        }
    }

    fn way(&self, knob: &Knob, value: &Value) -> Result<Way, String> {
        let way = match (knob, value) {
            (Knob::Sysctl(key), Value::Text(text)) => {
                Way::Sysctl(key.clone(), self.file(knob).unwrap_or_default(), text.clone())
            }
            (_, Value::Text(text)) => Way::File(self.file(knob).unwrap_or_default(), text.clone()),
            (Knob::Feature(name), Value::Switch(on)) => {
                Way::Ethtool(vec![Change::Feature { name: name.clone(), on: *on }])
            }
            (Knob::Channels, Value::Channels { rx, tx, combined }) => {
                let now = self.channels().map_err(|error| format!("ethtool -l {}: {error}", self.iface))?;
                let changed = |wanted: u32, now: u32| (wanted != now).then_some(wanted);
                Way::Ethtool(vec![Change::Channels {
                    rx: changed(*rx, now.rx),
                    tx: changed(*tx, now.tx),
                    combined: changed(*combined, now.combined),
                }])
            }
            (Knob::Rings, Value::Rings { rx, tx }) => {
                let now = self.rings().map_err(|error| format!("ethtool -g {}: {error}", self.iface))?;
                let changed = |wanted: u32, now: u32| (wanted != now).then_some(wanted);
                Way::Ethtool(vec![Change::Rings { rx: changed(*rx, now.rx), tx: changed(*tx, now.tx) }])
            }
            (Knob::AdaptiveRx, Value::Switch(on)) => Way::Ethtool(vec![Change::AdaptiveRx(*on)]),
            (Knob::RxUsecs, Value::Usecs(usecs)) => Way::Ethtool(vec![Change::RxUsecs(*usecs)]),
            (Knob::HashFields(udp), Value::Fields(fields)) => {
                Way::Ethtool(vec![Change::HashFields { udp: *udp, fields: *fields }])
            }
            (Knob::RssTable, Value::Table(table)) => self.table_way(table),
            (Knob::PortRule { udp, port }, Value::Queue(Some(queue))) => {
                Way::Ethtool(vec![Change::AddRule(PortRule { udp: *udp, port: *port, queue: *queue })])
            }
            (Knob::PortRule { udp, port }, Value::Queue(None)) => {
                let rules = self.card.rules().map_err(|error| format!("ethtool -n {}: {error}", self.iface))?;
                let ours = PortRule { udp: *udp, port: *port, queue: OWN_QUEUE };
                let of_it = |rule: &PortRule| *rule == ours;
                let ids = rules.rules.iter().filter(|rule| rule.port.as_ref().is_some_and(of_it)).map(|rule| rule.id);
                Way::Ethtool(ids.map(Change::DeleteRule).collect())
            }
            (knob, value) => return Err(format!("{knob} cannot be {value}")),
        };
        Ok(way)
    }

    fn table_way(&self, table: &[u32]) -> Way {
        let first = table.iter().min().copied().unwrap_or(0);
        let queues = table.iter().max().copied().unwrap_or(0) - first + 1;
        if even_table(table.len(), first, queues) != table {
            return Way::Table(table.to_vec());
        }
        match self.card.rss_queues() {
            // The driver may choose again when channels change, as it does for a table that nobody has set.
            Ok(all) if first == 0 && queues == all => Way::Ethtool(vec![Change::RssDefault]),
            _ => Way::Ethtool(vec![Change::RssEven { first, queues }]),
        }
    }

    /// What an operator would type to set it.
    pub fn command(&self, knob: &Knob, value: &Value) -> String {
        match self.way(knob, value) {
            Ok(Way::File(path, text)) => format!("echo {text} > {}", path.display()),
            Ok(Way::Sysctl(key, _, text)) => format!("sysctl -w {key}={text}"),
            Ok(Way::Ethtool(changes)) => {
                let commands: Vec<String> = changes.iter().map(|change| change.command(&self.iface)).collect();
                commands.join(" && ")
            }
            Ok(Way::Table(table)) => {
                format!("# the RSS table of {} gets its {} entries back by vosctl", self.iface, table.len())
            }
            Err(why) => format!("# {why}"),
        }
    }

    /// Would RSS' table keep the kernel from having so many queues? It does where somebody has set one that names others.
    pub(super) fn table_blocks(&self, channels: &Value) -> bool {
        let (Value::Channels { rx, combined, .. }, Ok(table)) = (channels, self.card.rss_table()) else {
            return false;
        };
        let queues = self.card.rss_queues().unwrap_or(u32::MAX);
        table.iter().any(|queue| *queue >= rx + combined) && table != even_table(table.len(), 0, queues)
    }

    /// What makes way for fewer queues: RSS takes every queue in turn.
    pub(super) fn even_out(&self) -> Result<(), Unset> {
        self.card.make(&Change::RssDefault).map_err(Unset::from)
    }

    /// The command for it, before that for the queues.
    pub(super) fn even_out_before(&self, command: &str) -> String {
        format!("{} && {command}", Change::RssDefault.command(&self.iface))
    }
}

impl Machine for Host {
    fn read(&self, knob: &Knob) -> Result<Value, Unread> {
        if let Some(file) = self.file(knob) {
            return self.read_file(knob, &file);
        }
        let asked = |error: io::Error, letter: &str, what: &str| match is_unsupported(&error) {
            true => Unread::Absent(format!("the driver of {} has no {what} to set", self.iface)),
            false => Unread::Failed(format!("ethtool {letter} {}: {error}", self.iface)),
        };
        match knob {
            Knob::Channels => {
                let Channels { rx, tx, combined, .. } =
                    self.channels().map_err(|error| asked(error, "-l", "queues"))?;
                Ok(Value::Channels { rx, tx, combined })
            }
            Knob::Rings => {
                let Rings { rx, tx, .. } = self.rings().map_err(|error| asked(error, "-g", "rings"))?;
                Ok(Value::Rings { rx, tx })
            }
            Knob::AdaptiveRx | Knob::RxUsecs => {
                let now = self.card.coalescing().map_err(|error| asked(error, "-c", "coalescing"))?;
                Ok(if *knob == Knob::AdaptiveRx { Value::Switch(now.adaptive_rx) } else { Value::Usecs(now.rx_usecs) })
            }
            Knob::Feature(name) => match self.card.feature(name).map_err(|error| asked(error, "-k", "offloads"))? {
                Some(feature) => Ok(Value::Switch(feature.on)),
                None => Err(Unread::Absent(format!("this kernel knows no offload {name}"))),
            },
            Knob::HashFields(udp) => {
                let fields = self.card.hash_fields(*udp).map_err(|error| asked(error, "-n", "RSS fields"))?;
                Ok(Value::Fields(fields))
            }
            Knob::RssTable => {
                let table = self.card.rss_table().map_err(|error| asked(error, "-x", "RSS table"))?;
                match table.is_empty() {
                    true => Err(Unread::Absent(format!("the driver of {} has no RSS table", self.iface))),
                    false => Ok(Value::Table(table)),
                }
            }
            // some drivers answer all the same, and some do not as long as rules are switched off
            Knob::PortRule { udp, port } => match (self.card.rules(), self.rules_off()) {
                (_, Some(Off::ForGood)) => {
                    Err(Unread::Absent(format!("the driver of {} has no rules for flows to set", self.iface)))
                }
                (Ok(rules), _) => {
                    let ports = rules.rules.iter().filter_map(|rule| rule.port);
                    let mut of_it = ports.filter(|rule| (rule.udp, rule.port) == (*udp, *port));
                    Ok(Value::Queue(of_it.next().map(|rule| rule.queue)))
                }
                (Err(error), Some(Off::ForNow)) if is_unsupported(&error) => Ok(Value::Queue(None)),
                (Err(error), _) => Err(asked(error, "-n", "rules for flows")),
            },
            other => Err(Unread::Failed(format!("{other} is no file and no knob of ethtool"))),
        }
    }

    fn write(&self, knob: &Knob, value: &Value) -> Result<(), Unset> {
        match self.way(knob, value).map_err(Unset::Refused)? {
            Way::File(path, text) | Way::Sysctl(_, path, text) => {
                // no file is made: there is one, or the kernel has no such knob
                let written = fs::OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(&path)
                    .and_then(|mut file| io::Write::write_all(&mut file, format!("{text}\n").as_bytes()));
                written.map_err(|error| Unset::Refused(format!("{}: {error}", self.command(knob, value))))
            }
            Way::Ethtool(changes) => changes.iter().try_for_each(|change| self.card.make(change)).map_err(Unset::from),
            Way::Table(table) => self
                .card
                .set_rss_table(&table)
                .map_err(|error| Unset::Refused(format!("writing the RSS table of {} back: {error}", self.iface))),
        }
    }
}

impl Host {
    /// Are rules switched off: for good, or until somebody switches them on?
    fn rules_off(&self) -> Option<Off> {
        match self.card.feature(NTUPLE) {
            Ok(Some(feature)) if !feature.on => Some(if feature.fixed { Off::ForGood } else { Off::ForNow }),
            _ => None,
        }
    }
}

/// Why there is nothing to be asked: mostly because there is no such interface, nor can be one of so long a name.
fn none(iface: &str, source: io::Error) -> TuneError {
    match source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ENAMETOOLONG) {
        true => TuneError::NoInterface { iface: iface.to_owned(), source },
        false => TuneError::Unreadable { what: format!("asking for the interface {iface}"), source },
    }
}

/// How a card's rules are switched off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Off {
    ForNow,
    ForGood,
}

/// The queue whose interrupt this is: the number at the end of `eth0-TxRx-3`, `virtio2-input.0`,
/// `mlx5_comp3@pci:0000:01:00.0`. `None`: link changes, errors, a card with one interrupt for all.
fn queue_of(name: &str) -> Option<u32> {
    let name = name.split('@').next().unwrap_or(name);
    let prefix = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let (prefix, number) = (prefix.to_ascii_lowercase(), &name[prefix.len()..]);
    let queue = ["rx-", "tx-", "rxtx-", "input.", "output.", "comp", "queue-", "-q", "rx", "tx"];
    let of_queues = queue.iter().any(|word| prefix.ends_with(word)) && !prefix.contains("async");
    if of_queues { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_of_queues_are_told_by_their_names() {
        let names = [
            ("eth0-TxRx-3", Some(3)),                 // igb, ixgbe, bnxt_en
            ("i40e-eth0-TxRx-12", Some(12)),          // i40e
            ("ice-eth0-TxRx-0", Some(0)),             // ice
            ("eth0-rx-1", Some(1)),                   // igb with few vectors
            ("eth0-Tx-Rx-5", Some(5)),                // ena
            ("mlx5_comp7@pci:0000:01:00.0", Some(7)), // mlx5_core
            ("virtio2-input.0", Some(0)),             // virtio_net
            ("virtio2-output.0", Some(0)),
            ("eth0-rxtx-2", Some(2)), // vmxnet3
            ("eth0", None),
            ("virtio2-config", None),
            ("mlx5_async0@pci:0000:01:00.0", None),
            ("ena-mgmnt@pci:0000:00:05.0", None),
            ("ice-0000:01:00.0:misc", None),
        ];
        for (name, queue) in names {
            assert_eq!(queue_of(name), queue, "{name}");
        }
    }
}
