use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tracing::{error, info, warn};

use super::machine::{State, Transition};
use crate::config::Attack;

/// Runs that fail, one after the other, until a hook is given up: at least ten minutes with `hook_every = "1min"`.
const TRIES: u32 = 10;

/// The command that is told. It is asked once a second, and never waited for.
#[derive(Debug)]
pub(super) struct Hook {
    /// What it was told last, and took.
    told: State,
    running: Option<Run>,
    /// When it was run last.
    last: Option<Instant>,
    failures: u32,
}

#[derive(Debug)]
struct Run {
    child: Child,
    state: State,
    began: Instant,
}

/// What it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct News<'a> {
    pub(super) iface: &'a str,
    pub(super) state: State,
    /// Unix seconds.
    pub(super) since: u64,
    /// What led to it; none: that was before the engine was started.
    pub(super) why: Option<&'a Transition>,
}

impl Hook {
    pub(super) const fn new(told: State) -> Self {
        Self { told, running: None, last: None, failures: 0 }
    }

    /// What it was told last, and took.
    pub(super) const fn told(&self) -> State {
        self.told
    }

    /// Looks after what runs, and runs it if there is something to tell.
    pub(super) fn turn(&mut self, config: &Attack, news: &News<'_>, now: Instant) {
        if let Some(run) = &mut self.running {
            let outcome = match run.child.try_wait() {
                Ok(None) if now.duration_since(run.began) < config.hook_timeout => return,
                Ok(None) => {
                    end(&mut run.child);
                    Err(format!("was killed after {}", humantime::format_duration(config.hook_timeout)))
                }
                Ok(Some(status)) if status.success() => Ok(()),
                Ok(Some(status)) => Err(in_words(status)),
                Err(error) => Err(error.to_string()),
            };
            let state = run.state;
            self.running = None;
            self.note(state, outcome);
        }
        let Some((program, words)) = config.hook.split_first() else {
            self.told = news.state;
            return;
        };
        let rests = self.last.is_some_and(|last| now.duration_since(last) < config.hook_every);
        if self.told == news.state || rests {
            return;
        }
        self.last = Some(now);
        match command(program, words, news, self.told).spawn() {
            Ok(child) => self.running = Some(Run { child, state: news.state, began: now }),
            Err(error) => self.note(news.state, Err(format!("cannot be run: {error}"))),
        }
    }

    fn note(&mut self, state: State, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                info!("attack.hook: told that it is {}", state.word());
                (self.told, self.failures) = (state, 0);
            }
            Err(why) if self.failures + 1 < TRIES => {
                self.failures += 1;
                warn!("attack.hook {why}; it is run again, {} times at most", TRIES - self.failures);
            }
            Err(why) => {
                error!("attack.hook {why}, for the {TRIES}th time: it is not told that it is {}", state.word());
                (self.told, self.failures) = (state, 0);
            }
        }
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        if let Some(run) = &mut self.running {
            end(&mut run.child);
        }
    }
}

/// What happens is in its environment, and nowhere in its words.
fn command(program: &str, words: &[String], news: &News<'_>, before: State) -> Command {
    let News { iface, state, since, why } = news;
    let evidence = why.map_or_else(|| "the engine was restarted".to_owned(), Transition::in_words);
    let json = why.map_or_else(String::new, |why| serde_json::to_string(&why.evidence).unwrap_or_default());
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).process_group(0);
    command.env("VOS_IFACE", iface).env("VOS_STATE", state.word()).env("VOS_BEFORE", before.word());
    command.env("VOS_TIME", since.to_string()).env("VOS_EVIDENCE", evidence).env("VOS_EVIDENCE_JSON", json);
    command
}

/// Kills it, and what it has started and not put in another group.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().map(Pid::from_raw);
    let _it_may_have_ended = group.map(|group| killpg(group, Signal::SIGKILL));
    let _killed = child.kill();
    let _reaped = child.wait();
}

fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => format!("was ended: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    /// A hook that is a shell's script, and the file it writes to.
    struct Site {
        hook: Hook,
        config: Attack,
        written: PathBuf,
        now: Instant,
        _directory: tempfile::TempDir,
    }

    impl Site {
        fn new(script: &str) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let written = directory.path().join("written");
            let hook = ["/bin/sh", "-c", script, "hook", &written.display().to_string()].map(str::to_owned);
            let config = Attack { hook: hook.into(), ..Attack::default() };
            Self { hook: Hook::new(State::Normal), config, written, now: Instant::now(), _directory: directory }
        }

        /// A turn so many seconds later.
        fn turn(&mut self, seconds: u64, state: State) {
            self.now += Duration::from_secs(seconds);
            let news = News { iface: "eth0", state, since: 1_700_000_000, why: None };
            self.hook.turn(&self.config, &news, self.now);
        }

        /// Waits until what runs has ended.
        fn ends(&mut self) {
            while let Some(run) = &mut self.hook.running
                && run.child.try_wait().expect("a child").is_none()
            {
                std::thread::sleep(Duration::from_millis(2));
            }
        }

        fn lines(&self) -> Vec<String> {
            let text = std::fs::read_to_string(&self.written).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        }
    }

    const TELL: &str = r#"echo "$VOS_IFACE $VOS_BEFORE $VOS_STATE $VOS_TIME" >>"$1""#;

    #[test]
    fn it_is_told_each_state_once_and_not_more_often_than_it_may() {
        let mut site = Site::new(TELL);
        site.turn(1, State::Normal);
        assert!(site.hook.running.is_none(), "nothing has happened");
        site.turn(1, State::Attack);
        site.ends();
        site.turn(1, State::Attack);
        assert_eq!(site.hook.told(), State::Attack);
        // What came and went within the minute it never hears of.
        site.turn(10, State::Recovering);
        site.turn(10, State::Attack);
        site.turn(10, State::Recovering);
        assert!(site.hook.running.is_none());
        site.turn(30, State::Recovering);
        site.ends();
        site.turn(300, State::Normal);
        site.ends();
        site.turn(1, State::Normal);
        let expected =
            ["eth0 normal attack 1700000000", "eth0 attack recovering 1700000000", "eth0 recovering normal 1700000000"];
        assert_eq!(site.lines(), expected);
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children_and_run_again() {
        let mut site = Site::new(r#"echo $$ >>"$1"; sleep 1000 & echo $! >>"$1"; wait"#);
        site.turn(1, State::Attack);
        while site.lines().len() < 2 {
            std::thread::sleep(Duration::from_millis(2));
        }
        site.turn(9, State::Attack);
        assert!(site.hook.running.is_some());
        site.turn(1, State::Attack);
        assert!(site.hook.running.is_none() && site.hook.told() == State::Normal);
        for pid in site.lines() {
            let is_there =
                || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
            while is_there() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        site.turn(60, State::Attack);
        assert!(site.hook.running.is_some(), "it is tried again");
    }

    #[test]
    fn one_that_fails_is_given_up_after_ten_times() {
        let mut site = Site::new(r#"echo x >>"$1"; exit 3"#);
        for _ in 0..20 {
            site.turn(61, State::Attack);
            site.ends();
        }
        assert_eq!((site.lines().len(), site.hook.told()), (TRIES as usize, State::Attack));
        // And hears of the next.
        site.turn(61, State::Normal);
        site.ends();
        assert_eq!(site.lines().len(), TRIES as usize + 1);
        site.config.hook = vec!["/nonexistent/hook".into()];
        for _ in 0..TRIES {
            site.turn(61, State::Recovering);
        }
        assert_eq!(site.hook.told(), State::Recovering);
    }

    #[test]
    fn no_hook_is_told_nothing_and_one_that_comes_later_only_what_is_new() {
        let mut site = Site::new(TELL);
        let hook = std::mem::take(&mut site.config.hook);
        site.turn(1, State::Attack);
        site.config.hook = hook;
        site.turn(1, State::Attack);
        assert!(site.hook.running.is_none());
        site.turn(1, State::Normal);
        site.ends();
        assert_eq!(site.lines(), ["eth0 attack normal 1700000000"]);
    }
}
