use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use vos_bench::{Error, Result};

use super::contenders::{Contender, Parsers};
use super::is_http;
use super::messages::{self, Message};
use super::table::{Build, Figures};

/// The process that holds some of the parsers, and the lines to it. It ends when its stdin does.
pub(super) struct Server {
    program: PathBuf,
    build: Build,
    /// What its parsers are called.
    pub(super) parsers: Vec<String>,
    child: Child,
    /// `None` once it is to end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// This program, in one of its builds.
    pub(super) fn ours(program: &Path, v3: bool, messages: &[Message]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["parse", "--serve"]);
        for file in files(messages) {
            command.arg("--message").arg(file);
        }
        Self::start(program, if v3 { Build::V3 } else { Build::Baseline }, command)
    }

    /// A program of `bench/peers`.
    pub(super) fn peer(program: &Path, messages: &[Message]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(files(messages));
        Self::start(program, Build::Foreign, command)
    }

    fn start(program: &Path, build: Build, mut command: Command) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(Error::io(format!("start {}", program.display())))?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut server = Self { program: program.to_owned(), build, parsers: Vec::new(), child, orders, answers };
        server.parsers = server.answer()?.split_whitespace().map(str::to_owned).collect();
        Ok(server)
    }

    /// Room for the figures of each of its parsers.
    pub(super) fn figures(&self, messages: usize) -> impl Iterator<Item = Figures> {
        self.parsers.iter().map(move |parser| Figures::new(parser, self.build, &self.program, messages))
    }

    /// The fastest call in a turn; `None` if there is no such message for this parser, or it refuses it.
    pub(super) fn time(&mut self, parser: &str, at: usize, message: &Message, turn: Duration) -> Result<Option<f64>> {
        let file = match (is_http(parser), &message.http) {
            (true, None) => return Ok(None),
            (http, _) => 2 * at + usize::from(http),
        };
        let order = format!("{parser} {file} {}\n", turn.as_nanos());
        let orders = self.orders.as_mut().expect("it is taken when this is dropped");
        orders.write_all(order.as_bytes()).map_err(Error::io(format!("tell {}", self.program.display())))?;
        let answer = self.answer()?;
        match answer.parse() {
            Ok(nanoseconds) => Ok(Some(nanoseconds)),
            Err(_) if answer == "refused" => Ok(None),
            Err(_) => Err(Error::Other(format!("{} says {answer:?}", self.program.display()))),
        }
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).map_err(Error::io(format!("ask {}", self.program.display())))?;
        if read == 0 {
            return Err(Error::Other(format!("{} ended early", self.program.display())));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// Each message, then its twin or, to keep the count, itself again.
fn files(messages: &[Message]) -> impl Iterator<Item = &PathBuf> {
    messages.iter().flat_map(|message| [&message.sip, message.http.as_ref().unwrap_or(&message.sip)])
}

/// The other end: answers until nobody asks any more.
pub(super) fn serve(files: &[PathBuf]) -> Result<()> {
    let messages: Vec<_> = files.iter().map(|file| messages::read(file)).collect::<Result<_>>()?;
    let names: Vec<_> = Contender::value_variants().iter().map(|contender| contender.name()).collect();
    let mut parsers = Parsers::default();
    let mut stdout = std::io::stdout().lock();
    let mut reply =
        |line: String| writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(Error::io("answer"));
    reply(names.join(" "))?;
    for order in std::io::stdin().lines() {
        let order = order.map_err(Error::io("read orders"))?;
        let (contender, file, turn) = read(&order).ok_or_else(|| Error::Other(format!("no order: {order:?}")))?;
        let message = messages.get(file).ok_or_else(|| Error::Other(format!("there is no file {file}")))?;
        let fastest = parsers.fastest(contender, message, turn);
        reply(fastest.map_or("refused".to_owned(), |nanoseconds| format!("{nanoseconds:.2}")))?;
    }
    Ok(())
}

fn read(order: &str) -> Option<(Contender, usize, Duration)> {
    let mut words = order.split(' ');
    let contender = Contender::from_str(words.next()?, false).ok()?;
    Some((contender, words.next()?.parse().ok()?, Duration::from_nanos(words.next()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_a_parser_a_file_and_a_time() {
        assert_eq!(read("core-lenient 3 1000"), Some((Contender::CoreLenient, 3, Duration::from_micros(1))));
        for not in ["", "core-lenient", "core-lenient 3", "nobody 3 1000", "lazy x 1000", "lazy 3 -1"] {
            assert_eq!(read(not), None, "{not}");
        }
    }
}
