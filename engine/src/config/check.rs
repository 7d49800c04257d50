//! Everything that is wrong with a file, not only the first of it: for whoever corrects it.

use std::path::Path;

use super::{Config, ConfigError};

/// Tables whose values are held against another's: with that one gone, what is said of these would be no error of theirs.
const ENTANGLED: [(&str, &str); 6] = [
    ("amqp", "cluster"),
    ("amqp", "records"),
    ("xdp", "honeypot"),
    ("relay", "honeypot"),
    ("relay", "backend"),
    ("control", "gateway"),
];

impl Config {
    /// Reads as a start would, and gives every error: all unknown keys and all values of the wrong form or, if there are
    /// none, the first value of each table that is out of range.
    pub fn check(path: Option<&Path>, flags: impl Fn(&mut Self)) -> Result<Self, Vec<ConfigError>> {
        let (mut errors, mut without): (Vec<ConfigError>, Vec<String>) = (Vec::new(), Vec::new());
        loop {
            let no_interface = without.iter().any(|name| name == "iface");
            let flags = |config: &mut Self| {
                flags(config);
                if no_interface {
                    "none".clone_into(&mut config.iface);
                }
            };
            let read = Self::read_without(path, &without, flags, Self::validate_to_run);
            let error = match read {
                Ok(config) if errors.is_empty() => return Ok(config),
                Ok(_) => break,
                Err(error) => error,
            };
            let is_range = matches!(error, ConfigError::Range { .. });
            if is_range && errors.iter().any(|error| !matches!(error, ConfigError::Range { .. })) {
                break;
            }
            let names = error.left_out(path);
            // one that stays though its key is gone is told already, and hides what is behind it
            if !names.is_empty() && names.iter().all(|name| without.contains(name)) {
                break;
            }
            errors.push(error);
            if names.is_empty() {
                break;
            }
            without.extend(names);
        }
        errors.sort_by_key(ConfigError::line);
        Err(errors)
    }

    /// The keys that are not as by default, with their values as they are in force; no password.
    pub fn told(&self) -> Vec<(String, String)> {
        let mut told = self.clone();
        told.amqp.url = without_password(&told.amqp.url);
        let (keys, mut leaves) = (told.difference(&Self::default()), told.leaves());
        let told = |key: String| leaves.remove(&key).map(|value| (key, value.to_string()));
        keys.into_iter().filter_map(told).collect()
    }
}

/// `amqp://USER:...@HOST` for `amqp://USER:PASSWORD@HOST`.
fn without_password(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    match parts.and_then(|(scheme, (user, host))| Some((scheme, user.split_once(':')?.0, host))) {
        Some((scheme, user, host)) => format!("{scheme}://{user}:...@{host}"),
        None => url.to_owned(),
    }
}

impl ConfigError {
    /// What must be left out of the file at `path` to see the next error; nothing if the error is not of that file.
    fn left_out(&self, path: Option<&Path>) -> Vec<String> {
        match self {
            Self::UnknownKey { path: its, key, .. } | Self::Value { path: its, key, .. } if Some(&**its) == path => {
                vec![key.clone()]
            }
            Self::Range { key, .. } => {
                let table = key.split_once('.').map_or(*key, |(table, _)| table);
                let tied = ENTANGLED.iter().filter(|(one, _)| *one == table).map(|(_, other)| *other);
                [table].into_iter().chain(tied).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. }
            | Self::UnknownKey { line, .. }
            | Self::NotForProfiles { line, .. }
            | Self::Value { line, .. }
            | Self::Range { place: Some((_, line)), .. } => *line,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and keys of all that is wrong with a file.
    fn errors(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("vos.toml");
        std::fs::write(&file, text).expect("written");
        let told = |error: &ConfigError| {
            let text = error.to_string();
            text.split_once("vos.toml:").map_or(text.clone(), |(_, behind)| behind.to_owned())
        };
        Config::check(Some(&file), |_| {}).map_or_else(|errors| errors.iter().map(told).collect(), |_| Vec::new())
    }

    #[track_caller]
    fn assert_errors(text: &str, begin: &[&str]) {
        let errors = errors(text);
        let same = errors.len() == begin.len() && errors.iter().zip(begin).all(|(error, begin)| error.contains(begin));
        assert!(same, "{errors:#?}");
    }

    #[test]
    fn every_error_is_told_in_the_order_of_the_lines() {
        assert_errors("iface = \"eth0\"\n", &[]);
        assert_errors(
            "iface = \"eth0\"\nquues = 4\nmode = \"fast\"\n[xdp]\nattach = \"no\"\nsip_prots = [1]\n[zzzz]\na = 1\n",
            &[
                "2: there is no key `quues`: did you mean `queues`",
                "3: `mode` takes",
                "5: `xdp.attach` takes",
                "6: there is no key `xdp.sip_prots`: did you mean `sip_ports` in [xdp]?",
                "7: there is no key `zzzz`",
            ],
        );
    }

    #[test]
    fn of_each_table_the_first_value_out_of_range_is_told() {
        assert_errors(
            "queues = 999\niface = \"a/b\"\n[xsk]\nring = 100\nframes = 1\n[worker]\nspin_us = 9999\n\
             [cluster]\nnode = \"a b\"\n",
            &[
                "1: `queues` takes 0",
                "2: `iface` takes",
                "5: `xsk.frames` takes",
                "7: `worker.spin_us` takes",
                "9: `cluster.node`",
            ],
        );
        // a value that is out of range beside one that is none is told when that one is corrected
        assert_errors("iface = \"eth0\"\nqueues = 999\nmode = 1\n", &["3: `mode` takes"]);
        // no error that would not be there without the other
        assert_errors(
            "iface = \"eth0\"\n[amqp]\nurl = \"http://x\"\n[cluster]\nlog = \"log\"\n",
            &["3: `amqp.url` takes"],
        );
    }

    #[test]
    fn what_is_not_as_by_default_is_told_without_passwords() {
        let text =
            "iface = \"eth0\"\nqueues = 4\n[amqp]\nurl = \"amqps://vos:p@ss:w@broker/x\"\n[xdp]\nattach = \"auto\"\n";
        let told = Config::parse(text, Path::new("vos.toml")).expect("sound").told();
        let told: Vec<String> = told.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(told, ["amqp.url = \"amqps://vos:...@broker/x\"", "iface = \"eth0\"", "queues = 4"]);
    }

    #[test]
    fn what_hides_the_rest_stands_alone() {
        assert_errors("queues = [\n", &["1:"]);
        assert_errors("queues = 999\n", &["`iface` takes", "1: `queues` takes"]);
        assert_eq!(Config::check(Some(Path::new("/nonexistent/vos.toml")), |_| {}).expect_err("gone").len(), 1);
        let of_a_flag = |config: &mut Config| (config.iface, config.queues) = ("eth0".into(), 999);
        assert_eq!(Config::check(None, of_a_flag).expect_err("too many").len(), 1);
    }
}
