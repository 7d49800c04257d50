//! `vos-bench remote`: good traffic under floods at a server on another machine, whatever protects it there.
//!
//! The same traffic as of `shield`, from this machine's addresses to a server that somebody has set up. One run for each way
//! in; `vos-bench page A.json B.json` shows them side by side.

use std::net::{IpAddr, SocketAddr};

use vos_bench::{Error, JunkOptions, Result, Stop, junk};

use crate::machine::Machine;
use crate::shield::crowd::Crowd;
use crate::shield::outcome::Outcome;
use crate::shield::table;
use crate::shield::traffic::{self, TrafficOptions};
use crate::{cores, say};

/// The measurement's options.
#[derive(clap::Args)]
pub(crate) struct RemoteOptions {
    /// The server: 192.0.2.1:5060 or [2001:db8::1]:5060. It must be yours
    #[arg(long, value_name = "ADDR:PORT")]
    to: SocketAddr,
    /// The interface that floods leave by
    #[arg(long, value_name = "NAME")]
    iface: String,
    /// The server's MAC address, or that of the router towards it
    #[arg(long, value_name = "MAC", value_parser = junk::mac)]
    mac: [u8; 6],
    /// Addresses of this machine that phones register and call from. What a server allows each address, all phones of one
    /// share: give many
    #[arg(long = "phones", value_name = "ADDR", value_delimiter = ',', required = true)]
    phones: Vec<IpAddr>,
    /// The password of users phone0 to phone199, who call `service`; a server that asks for none is fine
    #[arg(long, value_name = "WORD", default_value = "secret")]
    password: String,
    /// What protects the server, as tables are to call it
    #[arg(long, value_name = "NAME")]
    name: String,
    #[command(flatten)]
    traffic: TrafficOptions,
}

/// Runs it and prints the tables.
pub(crate) fn run(options: &RemoteOptions, stop: &Stop) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if let Some(other) = options.phones.iter().find(|phone| phone.is_ipv4() != options.to.is_ipv4()) {
        return Err(Error::Other(format!(
            "--phones {other} cannot reach {}: give addresses of its family",
            options.to
        )));
    }
    let RemoteOptions { to, iface, mac, phones, password, name, traffic } = options;
    // Sends nothing, but an interface that is not there is known at once.
    junk::run(&JunkOptions { seconds: 0.0, ..JunkOptions::new(iface, *to, *mac) }, stop)?;
    let machine = Machine::here();
    cores::all_but(traffic.flood_core)?;
    let crowd = Crowd {
        place: None,
        iface: iface.clone(),
        mac: *mac,
        to: *to,
        phones: phones.clone(),
        password: password.clone(),
        flood_core: traffic.flood_core,
    };
    let floods = traffic.floods();
    let (bar, mut turns) = (traffic::bar(traffic.rounds * floods.len()), Vec::new());
    for round in 1..=traffic.rounds {
        for flood in &floods {
            bar.set_message(traffic::under(round, name, *flood));
            turns.push(traffic::turn(&crowd, traffic, (name, round, *flood), stop)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let outcome = Outcome {
        machine,
        server: format!("a server on another machine ({to})"),
        is_remote: true,
        rounds: traffic.rounds,
        seconds: traffic.seconds,
        setups: vec![(name.clone(), format!("{name}, at {to}"))],
        turns,
        costs: Vec::new(),
    };
    traffic.write(&outcome)?;
    say(&table::text(&outcome));
    Ok(())
}
