//! The queue of blocks and unblocks at the broker. A message is acknowledged when what it asks for is on disk and in force,
//! so one that is under way when engine or broker die comes again. What makes no sense, or asks for what a feed may not, is
//! put into another queue, with the reason, before it is acknowledged.

/// What becomes of a bad message.
mod dead;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer, ErrorKind, ExchangeKind};
use thiserror::Error;
use tracing::{info, warn};

use crate::amqp::{Backoff, Broker, BrokerError};
use crate::config::{Amqp, Config};
use crate::control::Control;
use crate::control::ask::{By, End};
use crate::control::decision::Origin;
use crate::feed::Tally;
use crate::feed::message;
use crate::feed::settle::Settler;
use dead::DeadLetters;

/// Messages that the broker sends before any is acknowledged, and so the most that are on disk in one commit. Each such
/// lot costs a commit and a round trip: with 10 ms for the one and 20 ms for the other, that is a thousand messages a
/// second. Fewer: a full queue is read more slowly. More: more memory, since each message is held whole, and a broker takes
/// them at 16 MiB each (RabbitMQ 4), or 128 MiB (before).
const PREFETCH: u16 = 32;
/// How often a message is delivered before the broker puts it aside. Fewer: an engine that is killed again and again loses
/// sight of good ones. More: one that cannot be read is in the way for longer.
const DELIVERIES: i32 = 20;

/// Between looks at whether the connection still is. Longer: a message that cannot be read is in the way for longer.
const LOOK: Duration = Duration::from_millis(20);

/// A queue that is read, and how. Two that are equal are read alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    broker: Broker,
    name: String,
    dead_letter: String,
    ttl: Duration,
}

/// Why the queue is read no longer.
#[derive(Debug, Error)]
enum Lost {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{doing}: {said}; give the user of amqp.url the permission (rabbitmqctl set_permissions)")]
    Permission { doing: String, said: String },
    #[error("{doing}: {source}")]
    Amqp { doing: String, source: lapin::Error },
    #[error("the queue {0} was deleted, or its broker left the cluster")]
    Cancelled(String),
    #[error("a message whose properties are no UTF-8 is taken off queue {0} and thrown away")]
    TakenOff(String),
    #[error("the broker did not confirm a message for {queue} within {limit:?}: its log says why")]
    Unconfirmed { queue: String, limit: Duration },
}

impl Lost {
    fn doing(what: impl Into<String>) -> impl FnOnce(lapin::Error) -> Self {
        |source| match source.kind() {
            ErrorKind::ProtocolError(said) if *said.kind() == AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                Self::Permission { doing: what.into(), said: said.get_message().to_string() }
            }
            _ => Self::Amqp { doing: what.into(), source },
        }
    }

    /// Was it a message that lapin cannot read?
    fn is_unreadable(&self) -> bool {
        matches!(self, Self::Amqp { source, .. } if matches!(source.kind(), ErrorKind::ParsingError(_)))
    }
}

/// How to begin. A message of which lapin cannot read the properties (text that is no UTF-8) ends the connection, and would
/// do so for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Many messages at once.
    No,
    /// One at a time, so that those before it are done with and it stands first.
    OneByOne,
    /// What stands first is taken off the queue, whatever it is. Not every queue allows that; of one that the engine has
    /// made, the broker puts aside what it has delivered [`DELIVERIES`] times.
    TakeOff,
}

impl Care {
    fn after(self, lost: &Lost) -> Self {
        match self {
            Self::No if !lost.is_unreadable() => Self::No,
            Self::OneByOne if lost.is_unreadable() => Self::TakeOff,
            Self::No | Self::OneByOne | Self::TakeOff => Self::OneByOne,
        }
    }
}

impl Queue {
    /// The queue of this configuration, if it names one.
    pub fn of(config: &Config) -> Option<Self> {
        let Amqp { queue: name, dead_letter, ttl, .. } = &config.amqp;
        let broker = Broker::of(config).filter(|_| !name.is_empty())?;
        Some(Self { broker, name: name.clone(), dead_letter: dead_letter.clone(), ttl: *ttl })
    }

    /// What its tally is called.
    pub fn tally_name(&self) -> String {
        format!("amqp {}", self.name)
    }

    /// Reads the queue, for ever. Whatever goes wrong, it is tried again.
    pub async fn follow(self, control: Arc<Control>, tally: Arc<Tally>) {
        let (mut backoff, mut care, mut said) = (Backoff::default(), Care::No, String::new());
        let by = By::feed(Origin::Amqp, self.name.as_str());
        let mut settler = Settler::new(control, by, Arc::clone(&tally), self.tally_name());
        let mut unbound = None;
        loop {
            let began = Instant::now();
            match self.session(care, &tally, &mut settler, &mut unbound).await {
                Ok(()) => care = Care::No,
                Err(lost) => {
                    if matches!(lost, Lost::TakenOff(_)) {
                        tally.read.fetch_add(1, Relaxed);
                        tally.bad.fetch_add(1, Relaxed);
                    }
                    care = care.after(&lost);
                    let why = lost.to_string();
                    if why != said {
                        warn!("{}: {why}; it is tried again", self.tally_name());
                    }
                    tally.down(why.clone());
                    said = why;
                }
            }
            backoff.held(began.elapsed());
            if care != Care::No {
                // the broker is there, and only one message is in the way
                backoff = Backoff::default();
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Of the queue, if it is to be made.
    fn arguments(&self) -> FieldTable {
        let mut arguments = quorum();
        // In their order: with two engines at one queue, an unblock must not overtake its block.
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERIES));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(self.dead_letter.as_str().into()));
        arguments
    }

    /// An exchange of the queue's name. Who may write to the default exchange may write to every queue, and to the log of a
    /// cluster, which trusts; who may write to this one can block and unblock. It is seen to in each session: the one that
    /// made the queue may have ended before. A queue that is not as the engine makes it is somebody else's, and its ways in
    /// are theirs to make.
    async fn bind(&self, connection: &Connection) -> Result<(), Lost> {
        let name = self.name.as_str();
        let channel = connection.create_channel().await.map_err(Lost::doing("opening a channel"))?;
        match channel.queue_declare(name.into(), QueueDeclareOptions::durable(), self.arguments()).await {
            Ok(_) => {}
            Err(error)
                if matches!(soft(&error), Some(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::ACCESSREFUSED)) =>
            {
                return Ok(());
            }
            Err(error) => return Err(Lost::doing(format!("asking for queue {name}"))(error)),
        }
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let made = channel.exchange_declare(name.into(), ExchangeKind::Direct, options, FieldTable::default()).await;
        made.map_err(Lost::doing(format!("making exchange {name}")))?;
        let (queue, exchange, key) = (name.into(), name.into(), name.into());
        let bound = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await;
        bound.map_err(Lost::doing(format!("binding queue {name}")))?;
        // what goes wrong with it from now on is no business of this feed's
        let _it_has_done_its_work = channel.close(200, "OK".into()).await;
        Ok(())
    }

    /// One connection, until it is lost; Ok: begin anew, without care. `unbound` is why nothing came by the exchange last.
    async fn session(
        &self,
        care: Care,
        tally: &Tally,
        settler: &mut Settler,
        unbound: &mut Option<String>,
    ) -> Result<(), Lost> {
        let connection = self.broker.connect().await?;
        let channel = declare(&connection, &self.name, self.arguments()).await?;
        let refused = self.bind(&connection).await.err().map(|lost| lost.to_string());
        if let Some(why) = refused.as_ref().filter(|_| refused != *unbound) {
            warn!(
                "{}: nothing comes by the exchange of its name: {why}; the queue is read all the same",
                self.tally_name()
            );
        }
        *unbound = refused;
        let dead = DeadLetters::open(&connection, &self.dead_letter).await?;
        let mut reader = Reader { queue: self, tally, settler, channel, dead, unbound: unbound.as_deref() };
        match care {
            Care::TakeOff => reader.take_off(&connection).await,
            Care::OneByOne => reader.read(1, Some(PREFETCH)).await,
            Care::No => reader.read(PREFETCH, None).await,
        }
    }
}

/// Of queues that are kept on disk, on more than one node where the broker has several, whatever the sender says.
fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

/// What the broker has against it, where that ends only the channel.
fn soft(error: &lapin::Error) -> Option<&AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => match said.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

/// A channel, once the queue is there: as it is, whatever its arguments, or else made with these.
async fn declare(connection: &Connection, queue: &str, arguments: FieldTable) -> Result<Channel, Lost> {
    let channel = connection.create_channel().await.map_err(Lost::doing("opening a channel"))?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let Err(error) = channel.queue_declare(queue.into(), passive, FieldTable::default()).await else {
        return Ok(channel);
    };
    if soft(&error) != Some(&AMQPSoftError::NOTFOUND) {
        return Err(Lost::doing(format!("asking for queue {queue}"))(error));
    }
    // the broker has closed the other one
    let channel = connection.create_channel().await.map_err(Lost::doing("opening a channel"))?;
    let made = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await;
    made.map_err(Lost::doing(format!("making queue {queue}")))?;
    info!("amqp: the queue {queue} was not there and is made");
    Ok(channel)
}

/// A queue that is being read.
struct Reader<'a> {
    queue: &'a Queue,
    tally: &'a Tally,
    settler: &'a mut Settler,
    channel: Channel,
    dead: DeadLetters,
    unbound: Option<&'a str>,
}

impl Reader<'_> {
    /// Reads with so many messages on their way, until the connection is lost or so many are done.
    async fn read(&mut self, prefetch: u16, messages: Option<u16>) -> Result<(), Lost> {
        let name = &self.queue.name;
        let qos = self.channel.basic_qos(prefetch, BasicQosOptions::default()).await;
        qos.map_err(Lost::doing("setting the prefetch"))?;
        let (tag, options) = (self.queue.broker.name().into(), BasicConsumeOptions::default());
        let consumer = self.channel.basic_consume(name.as_str().into(), tag, options, FieldTable::default()).await;
        let mut consumer = consumer.map_err(Lost::doing(format!("reading queue {name}")))?;
        self.tally.up();
        if let Some(why) = self.unbound {
            self.tally.complain(why);
        }
        info!("{}: read", self.queue.tally_name());
        let mut left = messages.map(usize::from);
        while left != Some(0) {
            let batch = self.collect(&mut consumer).await?;
            let last = batch.last().map_or(0, |delivery| delivery.delivery_tag);
            left = left.map(|left| left.saturating_sub(batch.len()));
            self.settle(batch).await?;
            if let Err(error) = self.channel.basic_ack(last, BasicAckOptions { multiple: true }).await {
                // the channel knows only that it is no more, the consumer why
                while let Some(Some(next)) = consumer.next().now_or_never() {
                    next.map_err(Lost::doing("acknowledging"))?;
                }
                return Err(Lost::doing("acknowledging")(error));
            }
        }
        Ok(())
    }

    /// The next message, and those that are here already.
    async fn collect(&self, consumer: &mut Consumer) -> Result<Vec<Delivery>, Lost> {
        let mut batch = Vec::new();
        let mut next = consumer.next().await;
        loop {
            let delivery = next.ok_or_else(|| Lost::Cancelled(self.queue.name.clone()))?;
            batch.push(delivery.map_err(Lost::doing(format!("reading queue {}", self.queue.name)))?);
            if batch.len() == usize::from(PREFETCH) {
                return Ok(batch);
            }
            match consumer.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(batch),
            }
        }
    }

    /// Brings messages into force, or into the other queue.
    async fn settle(&mut self, batch: Vec<Delivery>) -> Result<(), Lost> {
        let end = End::After(self.queue.ttl.as_secs());
        let wishes = batch.iter().map(|delivery| message::read(&delivery.data, end)).collect();
        let settled = self.settler.settle(wishes).await;
        let bad =
            batch.iter().zip(&settled).filter_map(|(delivery, settled)| Some((delivery, settled.as_ref().err()?)));
        self.dead.keep(bad).await
    }

    /// Takes the first message off the queue before it is looked at; lapin may not be able to.
    async fn take_off(&mut self, connection: &Connection) -> Result<(), Lost> {
        let name = &self.queue.name;
        let first = self.channel.basic_get(name.as_str().into(), BasicGetOptions { no_ack: true });
        // lapin forgets who waits for a message that it cannot read
        let ended = async {
            while connection.status().connected() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let first = tokio::select! {
            first = first => first.map_err(Lost::doing(format!("taking a message off queue {name}")))?,
            () = ended => return Err(Lost::TakenOff(name.clone())),
        };
        match first {
            // another engine has met the bad one
            Some(first) => self.settle(vec![first.delivery]).await,
            None => Ok(()),
        }
    }
}
