//! Where the operator's session comes from, so that nobody blocks the address they work from.

use std::fs;
use std::net::IpAddr;

/// How far up the tree of processes to look: shells, sudo, su, tmux rarely nest deeper.
const ANCESTORS: usize = 16;

/// The client's address in an `SSH_CONNECTION` value: `203.0.113.9 52144 192.0.2.1 22`.
pub fn client_of(ssh_connection: &str) -> Option<IpAddr> {
    let address = ssh_connection.split_ascii_whitespace().next()?;
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

/// `SSH_CONNECTION` of this process or, because sudo drops it, of the nearest ancestor that has one.
pub fn ssh_connection() -> Option<String> {
    if let Ok(own) = std::env::var("SSH_CONNECTION") {
        return Some(own);
    }
    let mut process = std::process::id();
    for _ in 0..ANCESTORS {
        process = parent(process)?;
        let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
        if let Some(found) = variable(&environment, "SSH_CONNECTION") {
            return Some(found);
        }
    }
    None
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
    fn the_parent_is_the_one_the_system_names() {
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
    }
}
