//! Where the operator sits, so that the engine can keep them from blocking themselves.

use vos_engine::control::session::{Session, session};

use crate::Cli;

/// The operator's `SSH_CONNECTION`. Where nobody can tell whether there is one, standard error says so of what `blocks`;
/// not with `--json`, which programs read.
pub(crate) fn ssh_connection(cli: &Cli, blocks: bool) -> Option<String> {
    match session() {
        Session::Ssh(connection) => Some(connection),
        Session::Hidden(process) if blocks && !cli.json => {
            eprintln!(
                "vosctl: whether you came by ssh cannot be seen (process {process} is another user's), so your own address is not guarded: call vosctl with sudo, or set SSH_CONNECTION"
            );
            None
        }
        Session::Hidden(_) | Session::Local => None,
    }
}
