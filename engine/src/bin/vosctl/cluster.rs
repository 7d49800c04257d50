//! The nodes of a cluster.

use clap::Subcommand;
use vos_engine::control::client::Client;

use crate::answer::Failure;
use crate::{Cli, push};

#[derive(Subcommand, Debug)]
pub(super) enum ClusterCommand {
    /// Have hosts import a list, by ssh, several at once; the same list twice changes nothing.
    #[command(after_help = push::HELP)]
    Push(push::PushArgs),
}

pub(super) async fn run(_client: &Client, cli: &Cli, command: &ClusterCommand) -> Result<u8, Failure> {
    match command {
        ClusterCommand::Push(args) => push::run(cli, args),
    }
}
