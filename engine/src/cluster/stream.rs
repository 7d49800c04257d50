//! The log at the broker: a stream (<https://www.rabbitmq.com/docs/streams>), by AMQP 0-9-1.
//!
//! What traps there are: a consumer that begins beyond the end hears nothing for ever; one that begins before what is kept
//! begins silently at the oldest; the default exchange confirms what it throws away unless it is `mandatory`.

use std::fmt;

use futures_util::StreamExt;
use futures_util::stream::ReadyChunks;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, Consumer, ErrorKind};
use thiserror::Error;

use crate::amqp::BrokerError;
use crate::control::ask::Refusal;

/// What the broker keeps of a log that the engine makes, bytes. More: disk. Less: a node that was away finds that what it
/// has missed is gone, and begins with a snapshot. Another size: make the stream before the first engine does.
const KEPT: i64 = 1 << 30;
/// The broker throws away whole segments of this many bytes.
const SEGMENT: i64 = 64 << 20;
/// Messages that are under way to this node. Fewer: reading a long log waits for acknowledgements. More: memory, up to a
/// megabyte each.
const PREFETCH: u16 = 256;
/// Messages that are taken at once. One commit to disk for each such lot.
const BATCH: usize = 128;

/// The log cannot be used. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// No way to the broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The broker does not let us.
    #[error("the broker says {said}: give the nodes' user the permissions that vos.toml names at cluster.log")]
    Forbidden {
        /// What it said.
        said: String,
    },
    /// The connection is gone, or the broker refuses.
    #[error("the broker: {0}")]
    Amqp(lapin::Error),
    /// The stream was deleted.
    #[error("the log {0} was deleted at the broker")]
    Deleted(String),
    /// The broker does not take what is written.
    #[error("the broker does not take what is written to the log {0}: its own log says why (disk or memory?)")]
    Refused(String),
    /// Another kind of queue.
    #[error("{0} is a queue at the broker, but no stream: write another name as cluster.log, or delete that queue")]
    NoStream(String),
    /// What is written does not come back.
    #[error("what is written to the log {0} is not heard: is the broker in trouble? Its own log says more")]
    Silent(String),
    /// The disk refuses.
    #[error(transparent)]
    Control(#[from] Refusal),
    /// It failed inside.
    #[error("reading the log failed inside; this is a bug: {0}")]
    Inside(String),
}

impl From<lapin::Error> for LogError {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(said)
                if matches!(said.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)) =>
            {
                Self::Forbidden { said: said.get_message().to_string() }
            }
            _ => Self::Amqp(error),
        }
    }
}

/// From where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The oldest that there is.
    First,
    /// What comes from now on.
    Next,
    /// This offset, or the oldest if that is gone.
    At(u64),
    /// What was written at this unix second or later; a little more.
    Since(u64),
}

/// One message as it was read.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) offset: u64,
    /// Does the broker vouch that the nodes' user wrote it?
    pub(super) vouched: bool,
    pub(super) bytes: Vec<u8>,
}

/// The log, on a connection.
pub(super) struct Log {
    connection: Connection,
    name: ShortString,
    /// As whom every node logs in.
    user: ShortString,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Log {
    /// Makes the stream if there is none.
    pub(super) async fn open(connection: Connection, name: &str, user: &str) -> Result<Self, LogError> {
        let log = Self { connection, name: name.into(), user: user.into() };
        // One that is there may have been made with other sizes, and nobody need be allowed to make one then.
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let there = log.channel().await?.queue_declare(log.name.clone(), passive, FieldTable::default()).await;
        match there.err() {
            None => return Ok(log),
            Some(error) if is_missing(&error) => {}
            Some(error) => return Err(error.into()),
        }
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(KEPT));
        arguments.insert("x-stream-max-segment-size-bytes".into(), AMQPValue::LongLongInt(SEGMENT));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        log.channel().await?.queue_declare(log.name.clone(), durable, arguments).await?;
        Ok(log)
    }

    /// A channel of its own for whoever wants one: an error closes it.
    pub(super) async fn channel(&self) -> Result<Channel, LogError> {
        Ok(self.connection.create_channel().await?)
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What every message says of itself: the broker refuses a user who is not who is logged in
    /// (<https://www.rabbitmq.com/docs/validated-user-id>).
    pub(super) fn properties(&self) -> BasicProperties {
        BasicProperties::default().with_user_id(self.user.clone()).with_content_type("application/json".into())
    }

    /// Does the broker vouch for it?
    pub(super) fn vouches(&self, properties: &BasicProperties) -> bool {
        properties.user_id().as_ref() == Some(&self.user)
    }

    pub(super) async fn writer(&self) -> Result<Writer, LogError> {
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Writer { channel, name: self.name.clone(), properties: self.properties() })
    }

    pub(super) async fn reader(&self, from: Start) -> Result<Reader, LogError> {
        let channel = self.channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let offset = match from {
            Start::First => AMQPValue::LongString("first".into()),
            Start::Next => AMQPValue::LongString("next".into()),
            Start::At(offset) => AMQPValue::LongLongInt(offset.cast_signed()),
            Start::Since(second) => AMQPValue::Timestamp(second),
        };
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), offset);
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(self.name.clone(), ShortString::default(), options, arguments).await?;
        let (name, user) = (self.name.clone(), self.user.clone());
        Ok(Reader { chunks: consumer.ready_chunks(BATCH), channel, name, user, unacknowledged: None })
    }
}

fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if matches!(said.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)))
}

/// Writes to the log, in the order in which it is told.
#[derive(Clone)]
pub(super) struct Writer {
    channel: Channel,
    name: ShortString,
    properties: BasicProperties,
}

impl Writer {
    /// When this returns, the broker has all of it on its disk.
    pub(super) async fn write(&self, messages: impl IntoIterator<Item = Vec<u8>>) -> Result<(), LogError> {
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let mut confirms = Vec::new();
        for message in messages {
            let (exchange, properties) = (ShortString::default(), self.properties.clone());
            let sent = self.channel.basic_publish(exchange, self.name.clone(), mandatory, &message, properties);
            confirms.push(sent.await?);
        }
        for confirm in confirms {
            match confirm.await? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) => return Err(LogError::Deleted(self.name.to_string())),
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    return Err(LogError::Refused(self.name.to_string()));
                }
            }
        }
        Ok(())
    }
}

/// Reads the log.
pub(super) struct Reader {
    chunks: ReadyChunks<Consumer>,
    channel: Channel,
    name: ShortString,
    user: ShortString,
    /// The last message of the last lot.
    unacknowledged: Option<Acker>,
}

impl Reader {
    /// Waits for what comes next; all that is there already comes with it. Says at the same time that the lot before is
    /// done with.
    pub(super) async fn next(&mut self) -> Result<Vec<Item>, LogError> {
        if let Some(acker) = self.unacknowledged.take() {
            acker.ack(BasicAckOptions { multiple: true }).await?;
        }
        let Some(chunk) = self.chunks.next().await else { return Err(LogError::Deleted(self.name.to_string())) };
        let mut items = Vec::with_capacity(chunk.len());
        for delivery in chunk {
            let delivery = delivery?;
            let offset = delivery.properties.headers().as_ref().and_then(|headers| {
                let offset = headers.inner().get("x-stream-offset")?;
                offset.as_long_long_int()?.try_into().ok()
            });
            let Some(offset) = offset else { return Err(LogError::NoStream(self.name.to_string())) };
            let vouched = delivery.properties.user_id().as_ref() == Some(&self.user);
            items.push(Item { offset, vouched, bytes: delivery.data });
            self.unacknowledged = Some(delivery.acker);
        }
        Ok(items)
    }

    /// No more of it.
    pub(super) async fn close(self) {
        let _it_may_be_gone = self.channel.close(200, "done".into()).await;
    }
}
