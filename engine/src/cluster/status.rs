use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::warn;

use crate::cluster::stream::Log;
use crate::cluster::wire::{Holds, Node, Status};
use crate::cluster::{Cluster, LogError, blocking, chance};

/// How long other nodes are waited for. Shorter: one that is busy looks silent. Longer: nobody waits longer at a prompt
/// for one that is down.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long until they are asked again, while what they hold differs because they are still being told; twice as long
/// each time.
const AGAIN: Duration = Duration::from_millis(50);
/// Decisions that end sooner than this many seconds from the question are left out: some have swept them, some not.
const MARGIN: u64 = 2;
/// How long until questions are taken again after the broker has refused that.
const RETRY: Duration = Duration::from_secs(30);
/// Questions that wait. More than a few at once: somebody asks in a loop.
const ASKS: usize = 16;

/// What nodes tell each other beside the log.
#[derive(Serialize, Deserialize)]
enum Said {
    /// What do you hold, of what goes on beyond this unix second?
    Question { id: u64, run: u64, beyond: u64 },
    /// This.
    Answer { id: u64, node: String, holds: Holds },
}

/// A question that is being answered.
struct Round {
    id: u64,
    end: Instant,
    expected: usize,
    askers: Vec<oneshot::Sender<Vec<Node>>>,
    answers: Vec<Node>,
}

/// Where this node asks and is asked.
struct Desk<'a> {
    cluster: &'a Arc<Cluster>,
    log: &'a Log,
    channel: Channel,
    exchange: ShortString,
    queue: ShortString,
    round: Option<Round>,
}

impl Cluster {
    /// How all nodes are: asks them, and waits for a second at most.
    pub async fn status(self: &Arc<Self>) -> Status {
        let (end, mut pause) = (Instant::now() + PATIENCE, AGAIN);
        loop {
            let status = self.ask(end).await;
            let is_settling = status.nodes.iter().all(|node| node.holds.is_some());
            if status.agree || !status.connected || !is_settling || Instant::now() + pause > end {
                return status;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn ask(self: &Arc<Self>, end: Instant) -> Status {
        let asks = self.state().asks.clone();
        let (asker, answers) = oneshot::channel();
        let connected = match &asks {
            Some(asks) => asks.try_send(asker).is_ok(),
            None => false,
        };
        let (this, beyond) = (Arc::clone(self), self.beyond());
        // what cannot be had is shown as silent
        let own = blocking(move || this.holds(beyond)).await.ok();
        let mut nodes = vec![Node { node: self.member.node.to_string(), holds: own }];
        if connected && let Ok(Ok(answers)) = timeout_at(end + AGAIN, answers).await {
            nodes.extend(answers);
        }
        let this = Arc::clone(self);
        for (name, _) in blocking(move || this.control.nodes()).await.unwrap_or_default() {
            if !nodes.iter().any(|node| *node.node == *name) {
                nodes.push(Node { node: name.to_string(), holds: None });
            }
        }
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        let furthest = nodes.iter().filter_map(|node| Some(node.holds.as_ref()?.next)).max().unwrap_or_default();
        for holds in nodes.iter_mut().filter_map(|node| node.holds.as_mut()) {
            holds.lag = furthest - holds.next;
        }
        let state = self.state();
        Status {
            log: self.member.log.clone(),
            node: self.member.node.to_string(),
            connected,
            caught_up: state.caught_up,
            error: state.error.clone(),
            agree: connected && agree(&nodes),
            nodes,
        }
    }

    /// How many nodes there are beside this one.
    fn others(&self) -> usize {
        self.control.nodes().iter().filter(|(node, _)| *node != self.member.node).count()
    }

    fn beyond(&self) -> u64 {
        self.control.clock().wall_s() + MARGIN
    }

    fn holds(&self, beyond: u64) -> Holds {
        let digest = self.control.digest(beyond);
        Holds {
            next: self.control.place().unwrap_or_default().next,
            lag: 0,
            pending: self.control.outbox_len(),
            held: self.control.held() as u64,
            count: digest.count,
            digest: format!("{:032x}", digest.sum),
            ahead_ms: 0,
        }
    }

    fn millis(&self) -> i64 {
        (self.control.clock().wall_ns() / 1_000_000) as i64
    }

    /// Asks and answers, for ever. Where the broker does not let it, the log goes on without.
    pub(super) async fn answer(self: &Arc<Self>, log: &Log) -> Infallible {
        let mut told = false;
        loop {
            let Err(error) = self.serve(log).await;
            self.state().asks = None;
            if !told {
                warn!("cluster {}: `vosctl cluster status` cannot ask other nodes: {error}", log.name());
                told = true;
            }
            sleep(RETRY).await;
        }
    }

    async fn serve(self: &Arc<Self>, log: &Log) -> Result<Infallible, LogError> {
        let (mut desk, none) = (Desk::open(self, log).await?, FieldTable::default());
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = desk.channel.basic_consume(desk.queue.clone(), ShortString::default(), options, none);
        let mut consumer = consumer.await?;
        let (sender, mut asks) = mpsc::channel(ASKS);
        self.state().asks = Some(sender);
        loop {
            let end = desk.round.as_ref().map(|round| round.end);
            tokio::select! {
                delivery = consumer.next() => match delivery {
                    Some(delivery) => desk.hear(&delivery?).await?,
                    None => return Err(LogError::Deleted(desk.queue.to_string())),
                },
                Some(asker) = asks.recv() => desk.ask(asker).await?,
                () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => desk.finish(),
            }
        }
    }
}

impl<'a> Desk<'a> {
    /// An exchange that all nodes hear, and a queue for what this one hears.
    async fn open(cluster: &'a Arc<Cluster>, log: &'a Log) -> Result<Self, LogError> {
        let channel = log.channel().await?;
        let exchange: ShortString = format!("{}.status", log.name()).into();
        let queue: ShortString = format!("{exchange}.{}.{:016x}", cluster.node(), chance()).into();
        let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default;
        channel.exchange_declare(exchange.clone(), ExchangeKind::Fanout, options, none()).await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), options, none()).await?;
        let key = ShortString::default();
        channel.queue_bind(queue.clone(), exchange.clone(), key, QueueBindOptions::default(), none()).await?;
        Ok(Self { cluster, log, channel, exchange, queue, round: None })
    }

    async fn say(&self, exchange: ShortString, key: ShortString, said: &Said) -> Result<(), LogError> {
        // numbers and strings always have a JSON form
        let body = serde_json::to_vec(said).unwrap_or_default();
        let properties = self.log.properties().with_reply_to(self.queue.clone());
        self.channel.basic_publish(exchange, key, BasicPublishOptions::default(), &body, properties).await?;
        Ok(())
    }

    async fn ask(&mut self, asker: oneshot::Sender<Vec<Node>>) -> Result<(), LogError> {
        if let Some(round) = &mut self.round {
            round.askers.push(asker);
            return Ok(());
        }
        let (id, beyond) = (chance(), self.cluster.beyond());
        let this = Arc::clone(self.cluster);
        let others = blocking(move || this.others()).await?;
        // one that has this node's name answers as well
        let twin = usize::from(self.cluster.state().twin.is_some());
        let expected = twin + others;
        let end = Instant::now() + PATIENCE;
        self.round = Some(Round { id, end, expected, askers: vec![asker], answers: Vec::new() });
        if expected == 0 {
            self.finish();
            return Ok(());
        }
        let question = Said::Question { id, run: self.cluster.run, beyond };
        self.say(self.exchange.clone(), ShortString::default(), &question).await
    }

    async fn hear(&mut self, delivery: &Delivery) -> Result<(), LogError> {
        if !self.log.vouches(&delivery.properties) {
            return Ok(());
        }
        match serde_json::from_slice(&delivery.data) {
            Ok(Said::Question { id, run, beyond }) if run != self.cluster.run => {
                let (now, this) = (self.cluster.millis(), Arc::clone(self.cluster));
                let holds = blocking(move || this.holds(beyond)).await?;
                let answer =
                    Said::Answer { id, node: self.cluster.node().to_owned(), holds: Holds { ahead_ms: now, ..holds } };
                let asker = delivery.properties.reply_to().clone().unwrap_or_default();
                self.say(ShortString::default(), asker, &answer).await?;
            }
            Ok(Said::Answer { id, node, mut holds }) => {
                let Some(round) = self.round.as_mut().filter(|round| round.id == id) else { return Ok(()) };
                // it has told its clock
                let passed = (PATIENCE.saturating_sub(round.end.saturating_duration_since(Instant::now()))).as_millis();
                holds.ahead_ms = holds.ahead_ms.saturating_sub(self.cluster.millis() - passed as i64);
                round.answers.push(Node { node, holds: Some(holds) });
                if round.answers.len() >= round.expected {
                    self.finish();
                }
            }
            // what another version says
            Ok(Said::Question { .. }) | Err(_) => {}
        }
        Ok(())
    }

    fn finish(&mut self) {
        let Some(round) = self.round.take() else { return };
        for asker in round.askers {
            let _it_may_have_gone = asker.send(round.answers.clone());
        }
    }
}

/// Have all answered, each once, and hold the same?
fn agree(nodes: &[Node]) -> bool {
    let names_differ = nodes.windows(2).all(|pair| pair[0].node != pair[1].node);
    let held: Option<Vec<_>> = nodes.iter().map(|node| node.holds.as_ref().map(|h| (h.count, &h.digest))).collect();
    names_differ && held.is_some_and(|held| held.windows(2).all(|pair| pair[0] == pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, digest: Option<&str>) -> Node {
        let holds = |digest: &str| Holds {
            next: 1,
            lag: 0,
            pending: 0,
            held: 0,
            count: 3,
            digest: digest.to_owned(),
            ahead_ms: 0,
        };
        Node { node: name.to_owned(), holds: digest.map(holds) }
    }

    #[test]
    fn nodes_agree_if_all_answer_each_once_and_hold_the_same() {
        assert!(agree(&[node("a", Some("7"))]));
        assert!(agree(&[node("a", Some("7")), node("b", Some("7"))]));
        assert!(!agree(&[node("a", Some("7")), node("b", Some("8"))]), "another set");
        assert!(!agree(&[node("a", Some("7")), node("b", None)]), "a silent node");
        assert!(!agree(&[node("a", Some("7")), node("a", Some("7"))]), "two of one name");
    }
}
