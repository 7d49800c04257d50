//! `vosctl top`: what happens, while it happens.

/// How it looks.
mod draw;
/// What is shown.
mod model;
/// Numbers out of `stats`.
mod numbers;
/// The terminal, taken and given back.
mod screen;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use vos_engine::control::client::Client;
use vos_engine::control::follow::Following;
use vos_engine::events::Wanted;
use vos_engine::feed;
use vos_engine::live::wire::Status;

use crate::Cli;
use crate::answer::Failure;
use crate::events::stopped;
use model::Model;
use screen::{Key, Screen};

/// News that wait to be shown. More: what is shown is older. Fewer: a flood of events is read in smaller sips.
const NEWS_MAX: usize = 256;

/// Looks in a row that may fail.
const FAILURES_MAX: u32 = 2;

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// Print one frame as text, after one interval, and end.
    #[arg(long)]
    once: bool,
}

/// Something to be shown or obeyed.
enum News {
    /// What the engine says of itself.
    Look(Box<Look>),
    /// An event, as the API tells it.
    Event(Value),
    Key(Key),
    /// A signal.
    End,
    /// The engine has ended the stream.
    Stopped,
    Failed(Failure),
}

/// Why it is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Somebody has ended it.
    Ended,
    /// The engine has stopped.
    Stopped,
}

/// What the engine says of itself.
struct Look {
    at: Instant,
    stats: Value,
    status: Status,
    feeds: Vec<feed::View>,
}

impl Look {
    async fn take(client: &Client) -> Result<Self, Failure> {
        let (stats, status, feeds) = (client.stats().await?, client.status().await?, client.feeds().await?);
        Ok(Self { at: Instant::now(), stats, status, feeds })
    }
}

pub(crate) async fn run(client: &Client, cli: &Cli, args: &TopArgs) -> Result<u8, Failure> {
    if cli.json {
        return Err(Failure::Usage("top is for people: write `vosctl stats --json --watch` instead".into()));
    }
    let on_a_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !args.once && !on_a_terminal {
        let instead = "top needs a terminal: write --once for one frame as text, or `vosctl stats --json --watch`";
        return Err(Failure::Usage(instead.into()));
    }
    let interval = Duration::from_secs(args.interval);
    let mut model = Model::new(client.path());
    // before what was is asked for: nothing may happen in between
    let events = if args.once { None } else { Some(client.follow(&Wanted::default()).await?) };
    let before = client.recent(&Wanted::default()).await?.events;
    let known: Vec<Value> = before.iter().filter_map(|event| serde_json::to_value(event).ok()).collect();
    before.into_iter().for_each(|event| model.happened(event));
    let Some(events) = events else { return once(client, model, interval).await };
    // before the terminal is taken: an engine that is not there is told in the usual place
    model.look(Look::take(client).await?);
    let (sender, news) = channel(NEWS_MAX);
    follow(client, interval, &sender)?;
    tokio::spawn(tell(events, known, sender.clone()));
    let mut screen = Screen::take(sender)?;
    let ended = watch(&mut screen, model, news).await;
    drop(screen);
    ended.map(|over| if over == Over::Stopped { stopped() } else { 0 })
}

async fn once(client: &Client, mut model: Model, interval: Duration) -> Result<u8, Failure> {
    model.look(Look::take(client).await?);
    tokio::time::sleep(interval).await;
    model.look(Look::take(client).await?);
    let text = draw::text(&model, screen::size()).map_err(io::Error::other)?;
    write!(io::stdout(), "{text}")?;
    Ok(0)
}

/// Whatever comes from outside becomes news. A task that waits for the engine keeps no key from being obeyed.
fn follow(client: &Client, interval: Duration, sender: &Sender<News>) -> io::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            signal.recv().await;
            let _it_has_ended = sender.send(News::End).await;
        });
    }
    let (looking, sending) = (client.clone(), sender.clone());
    tokio::spawn(async move {
        let mut failures = 0;
        loop {
            tokio::time::sleep(interval).await;
            let news = match Look::take(&looking).await {
                Ok(look) => News::Look(Box::new(look)),
                // an engine that stops ends the stream of events, which tells more
                Err(_) if failures < FAILURES_MAX => {
                    failures += 1;
                    continue;
                }
                Err(failure) => News::Failed(failure),
            };
            failures = 0;
            if sending.send(news).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Makes news of what happens from now on, without what is `known` already.
async fn tell(mut events: Following, known: Vec<Value>, sender: Sender<News>) {
    let ended = loop {
        match events.next().await {
            Ok(Some(event)) if known.contains(&event) => {}
            Ok(Some(event)) => {
                if sender.send(News::Event(event)).await.is_err() {
                    return;
                }
            }
            Ok(None) => break News::Stopped,
            Err(error) => break News::Failed(error.into()),
        }
    };
    let _it_has_ended = sender.send(ended).await;
}

/// Shows what comes until it is over.
async fn watch(screen: &mut Screen, mut model: Model, mut news: Receiver<News>) -> Result<Over, Failure> {
    // what is shown while nothing is to move
    let mut still: Option<Model> = None;
    loop {
        screen.draw(still.as_ref().unwrap_or(&model))?;
        loop {
            match news.recv().await {
                None | Some(News::End | News::Key(Key::Quit)) => return Ok(Over::Ended),
                Some(News::Stopped) => return Ok(Over::Stopped),
                Some(News::Failed(failure)) => return Err(failure),
                // shown with the next look
                Some(News::Event(event)) => {
                    model.told(event);
                    continue;
                }
                Some(News::Look(look)) => model.look(*look),
                Some(News::Key(Key::Reset)) => model.reset(),
                Some(News::Key(Key::Pause)) => still = if still.is_some() { None } else { Some(model.paused()) },
                Some(News::Key(Key::Resize)) => {}
            }
            break;
        }
    }
}
