//! Where the operator's session comes from, so that nobody blocks the address they work from.

use std::fs;
use std::io;
use std::net::IpAddr;

/// How far up the tree of processes to look: shells, sudo, su, tmux rarely nest deeper.
const ANCESTORS: usize = 16;

/// The client's address in an `SSH_CONNECTION` value: `203.0.113.9 52144 192.0.2.1 22`.
pub fn client_of(ssh_connection: &str) -> Option<IpAddr> {
    let address = ssh_connection.split_ascii_whitespace().next()?;
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

/// The ancestor of all, which nobody's session is.
const INIT: u32 = 1;

/// Where this process was called from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// By ssh: the value of `SSH_CONNECTION`.
    Ssh(String),
    /// Nothing speaks for ssh.
    Local,
    /// That cannot be told: this ancestor's environment is kept from us (another user's, as after `su - USER`).
    Hidden(u32),
}

/// By `SSH_CONNECTION` of this process or, because sudo drops it, of the nearest ancestor that shows one.
pub fn session() -> Session {
    match std::env::var("SSH_CONNECTION") {
        Ok(own) => Session::Ssh(own),
        Err(_) => above(std::process::id(), parent, |process| fs::read(format!("/proc/{process}/environ"))),
    }
}

fn above(
    mut process: u32,
    parent: impl Fn(u32) -> Option<u32>,
    environment: impl Fn(u32) -> io::Result<Vec<u8>>,
) -> Session {
    let mut session = Session::Local;
    for _ in 0..ANCESTORS {
        match parent(process) {
            None | Some(INIT) => break,
            Some(above) => process = above,
        }
        match environment(process).map(|environment| variable(&environment, "SSH_CONNECTION")) {
            Ok(Some(found)) => return Session::Ssh(found),
            Err(_) if session == Session::Local => session = Session::Hidden(process),
            Ok(None) | Err(_) => {}
        }
    }
    session
}

fn variable(environment: &[u8], name: &str) -> Option<String> {
    let mut pairs = environment.split(|byte| *byte == 0);
    let value = pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    (parent > 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_the_client() {
        let client = |text| client_of(text).map(|address| address.to_string());
        assert_eq!(client("203.0.113.9 52144 192.0.2.1 22").as_deref(), Some("203.0.113.9"));
        assert_eq!(client("fe80::1%eth0 52144 fe80::2%eth0 22").as_deref(), Some("fe80::1"));
        assert_eq!(client("::ffff:203.0.113.9 1 ::1 22").as_deref(), Some("203.0.113.9"));
        assert_eq!((client(""), client("somebody")), (None, None));
    }

    #[test]
    fn an_environment_is_read_by_whole_names() {
        let environment = b"OLD_SSH_CONNECTION=a\0SSH_CONNECTION=b c\0X=SSH_CONNECTION=d\0";
        assert_eq!(variable(environment, "SSH_CONNECTION").as_deref(), Some("b c"));
        assert_eq!(variable(environment, "SSH"), None);
    }

    #[test]
    fn ancestors_that_keep_their_environment_to_themselves_are_passed_and_told() {
        // process 9 is ours; each ancestor has the number below
        let look = |readable: &[(u32, &str)]| {
            let parent = |process: u32| (process > 1).then(|| process - 1);
            let environment = |process| {
                let shown = readable.iter().find(|(readable, _)| *readable == process);
                shown.map(|(_, text)| text.as_bytes().to_vec()).ok_or(io::ErrorKind::PermissionDenied.into())
            };
            above(9, parent, environment)
        };
        let all = |text| (2..9).map(|process| (process, if process == 4 { text } else { "A=b" })).collect::<Vec<_>>();
        let found = Session::Ssh("203.0.113.9 1 192.0.2.1 22".into());
        let ssh = "A=b\0SSH_CONNECTION=203.0.113.9 1 192.0.2.1 22";
        assert_eq!(look(&all(ssh)), found);
        assert_eq!(look(&[(7, "A=b"), (4, ssh)]), found, "past those of others");
        assert_eq!(look(&all("A=b")), Session::Local, "init is not asked");
        assert_eq!(look(&all("A=b")[..5]), Session::Hidden(8));
        assert_eq!(look(&[]), Session::Hidden(8), "the nearest");
    }

    #[test]
    fn the_parent_is_the_one_the_system_names() {
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
    }
}
