//! The files with secrets that a configuration names: what a start would stumble over is said before anything changes.

use super::validate::check;
use super::{Config, ConfigError};
use crate::amqp::{Broker, BrokerError};
use crate::control::token::Token;

impl Config {
    /// [`Config::validate`], and token, password and certificates must be there and sound where they are used.
    pub(super) fn validate_to_run(&self) -> Result<(), ConfigError> {
        self.validate()?;
        // the page takes an undo of whoever shows the token, where there is one
        let shown_to_the_page = self.page.listen.is_some() && !self.api.token_file.as_os_str().is_empty();
        if self.api.listen.is_some() || shown_to_the_page {
            let token = Token::read(&self.api.token_file);
            check("api.token_file", token.is_ok(), || token.err().map(|error| error.to_string()).unwrap_or_default())?;
        }
        match Broker::of(self).map_or(Ok(()), |broker| broker.check_files()) {
            Err(BrokerError::File { key, path, why }) => check(key, false, || format!("{}: {why}", path.display())),
            // the URL is looked at by itself
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// What a start, a reload or a check says of this file; the last line of `text` names a file of this content and mode.
    #[track_caller]
    fn refused(text: &str, content: Option<&str>, mode: u32, says: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, named) = (directory.path().join("vos.toml"), directory.path().join("named"));
        if let Some(content) = content {
            fs::write(&named, content).expect("written");
            fs::set_permissions(&named, Permissions::from_mode(mode)).expect("own file");
        }
        fs::write(&file, format!("iface = \"eth0\"\n{text} = {named:?}\n")).expect("written");
        let read = |file: &Path| Config::read_to_run(Some(file), |_| {}).map_err(|error| error.to_string());
        let checked = Config::check(Some(&file), |_| {}).map_err(|errors| {
            assert_eq!(errors.len(), 1, "{errors:?}");
            errors[0].to_string()
        });
        let read = read(&file);
        assert_eq!(read, checked, "whoever starts, reloads and checks is told the same");
        match read {
            Ok(_) => assert_eq!(says, "", "{text}"),
            Err(error) => {
                let line = text.lines().count() + 1;
                assert!(!says.is_empty() && error.contains(says), "{text}: {error}");
                assert!(error.contains(&format!("vos.toml:{line}: `")), "{error}");
            }
        }
        Config::read(Some(&file), |_| {}).expect("sound but for the file that it names");
    }

    #[test]
    fn files_of_secrets_are_read_before_anything_changes() {
        let token = "[api]\nlisten = \"192.0.2.1:9060\"\nallow = [\"192.0.2.0/24\"]\ntoken_file";
        refused(token, Some("0123456789abcdef\n"), 0o640, "");
        refused(token, None, 0, "No such file");
        refused(token, Some("0123456789abcdef\n"), 0o644, "chmod 640");
        refused(token, Some("short\n"), 0o600, "openssl rand -hex 32");
        refused("[api]\ntoken_file", None, 0, "");
        let page = "[page]\nlisten = \"127.0.0.1:9960\"\n[api]\ntoken_file";
        refused(page, Some("0123456789abcdef\n"), 0o640, "");
        refused(page, Some("0123456789abcdef\n"), 0o644, "chmod 640");
        let password = "[amqp]\nurl = \"amqp://vos@192.0.2.1\"\npassword_file";
        refused(password, Some("secret\n"), 0o600, "");
        refused(password, None, 0, "No such file");
        refused(password, Some("\n"), 0o600, "first line is empty");
        refused("[amqp]\npassword_file", None, 0, "");
        let ca = "[amqp]\nurl = \"amqps://vos@192.0.2.1\"\nca_file";
        refused(ca, None, 0, "No such file");
        refused(ca, Some("no PEM\n"), 0o644, "no certificate in it");
        // nobody is believed where there is no TLS
        refused("[amqp]\nurl = \"amqp://vos@192.0.2.1\"\nca_file", None, 0, "");
    }
}
