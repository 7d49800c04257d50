//! The kernel's maps as plain values, which may fail. For tests.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use vos_common::state::{Clock, Config as KernelConfig};

use super::{Kernel, Live, lock};
use crate::config::Config;
use crate::control::clock::Clock as Clocks;
use crate::xdp::{LoadError, compile};

/// The clock of these tests, ns of `CLOCK_MONOTONIC`.
pub(crate) const NOW: u64 = 5_000_000_000_000;

/// A handle on one set of maps; clones see the same.
#[derive(Clone, Default)]
pub(crate) struct FakeKernel(Arc<Mutex<Maps>>);

#[derive(Default)]
struct Maps {
    config: KernelConfig,
    homes: Vec<IpAddr>,
    broken: bool,
}

impl FakeKernel {
    /// With this configuration in force.
    pub(crate) fn holding(config: &Config) -> Self {
        let clock = Clock { jiffies: 0, monotonic: 0, tick: 4_000_000 };
        let before = KernelConfig { clock, seed: 7, ..KernelConfig::default() };
        Self(Arc::new(Mutex::new(Maps { config: compile(config, clock.tick, before), ..Maps::default() })))
    }

    /// Takes no writes from now on.
    pub(crate) fn break_down(&self) {
        lock(&self.0).broken = true;
    }

    /// Own and protected addresses.
    pub(crate) fn homes(&self) -> Vec<IpAddr> {
        lock(&self.0).homes.clone()
    }
}

impl Kernel for FakeKernel {
    fn reload(&mut self, config: &Config, own: &[IpAddr]) -> Result<KernelConfig, LoadError> {
        Kernel::homes(self, own, &config.xdp.protect)?;
        let mut maps = lock(&self.0);
        let before = KernelConfig { signatures: !maps.config.signatures & 1, ..maps.config };
        maps.config = compile(config, before.clock.tick, before);
        Ok(maps.config)
    }

    fn homes(&mut self, own: &[IpAddr], protect: &[IpAddr]) -> Result<(), LoadError> {
        let mut maps = lock(&self.0);
        if maps.broken {
            return Err(LoadError::Missing("CONFIG"));
        }
        maps.homes = [own, protect].concat();
        Ok(())
    }

    fn attack(&mut self, until: u64) -> Result<KernelConfig, LoadError> {
        let mut maps = lock(&self.0);
        if maps.broken {
            return Err(LoadError::Missing("CONFIG"));
        }
        maps.config.attack_until = until;
        Ok(maps.config)
    }

    fn config(&self) -> KernelConfig {
        lock(&self.0).config
    }
}

/// An engine's settings over a file that tests rewrite.
pub(crate) struct Site {
    pub(crate) live: Arc<Live>,
    pub(crate) kernel: FakeKernel,
    directory: tempfile::TempDir,
}

impl Site {
    /// Started with this text in the file.
    pub(crate) fn start(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("vos.toml");
        std::fs::write(&file, text).expect("written");
        let read =
            move || Config::read(Some(&file), |config| config.iface = "eth0".into()).map_err(|error| error.to_string());
        let config = read().expect("sound");
        let kernel = FakeKernel::holding(&config);
        let own = vec![[192, 0, 2, 1].into()];
        let clock = || Clocks::at(1_000_000_000_000, NOW);
        let live = Live::new(&config, own, Box::new(kernel.clone()), Box::new(read), clock);
        Self { live: Arc::new(live), kernel, directory }
    }

    /// Writes the file anew.
    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.directory.path().join("vos.toml"), text).expect("written");
    }
}
