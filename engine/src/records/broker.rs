use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use super::counts::{Counts, Loss};
use super::{Line, Records};
use crate::amqp::{Backoff, Broker, BrokerError};
use crate::config::Config;

/// Messages that wait for the broker's confirmation at once. Fewer: a round trip for each few. More: more come twice after a
/// connection was lost.
const AT_ONCE: usize = 64;
/// How long the broker may take to confirm: as long as a busy disk may.
const CONFIRM: Duration = Duration::from_secs(10);
/// Between looks at whether the connection still is, while there is nothing to write. Longer: the first line after the broker
/// was away is later.
const LOOK: Duration = Duration::from_secs(1);
/// AMQP's delivery mode of messages that outlive the broker (basic.properties, §1.8.3).
const PERSISTENT: u8 = 2;

/// Where lines go beside the file. Two that are equal lead to the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    broker: Broker,
    exchange: String,
}

/// Why nothing is published any longer.
#[derive(Debug, Error)]
enum Lost {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(
        "{doing}: {source}; an exchange that is there must be durable and of type topic, and the user of amqp.url needs the permission (rabbitmqctl set_permissions)"
    )]
    Amqp { doing: String, source: lapin::Error },
    #[error("the broker did not confirm within {CONFIRM:?}: its log says why")]
    Unconfirmed,
    #[error("the broker hung up")]
    HungUp,
}

/// Lines that the broker has not confirmed. Whoever lets go of them has lost them.
struct Held<'a> {
    lines: Vec<Line>,
    counts: &'a Counts,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.counts.lose(Loss::Broker, self.lines.len() as u64);
    }
}

/// Waits until the connection is none any more.
async fn end_of(connection: &Connection) {
    while connection.status().connected() {
        tokio::time::sleep(LOOK).await;
    }
}

impl Lost {
    fn doing(what: impl Into<String>) -> impl FnOnce(lapin::Error) -> Self {
        |source| Self::Amqp { doing: what.into(), source }
    }
}

impl Publisher {
    /// The one of this configuration, if it names one.
    pub fn of(config: &Config) -> Option<Self> {
        let exchange = config.records.exchange.clone();
        let broker = Broker::of(config).filter(|_| !exchange.is_empty() && config.records.is_on())?;
        Some(Self { broker, exchange })
    }

    /// Publishes what is written down, for ever. Whatever goes wrong, it is tried again: what the broker did not confirm may
    /// come twice.
    pub async fn follow(self, records: Records) {
        let mut unsent = records.shared.unsent.lock().await;
        let mut held = Held { lines: Vec::with_capacity(AT_ONCE), counts: &records.shared.counts };
        let (mut backoff, mut said) = (Backoff::default(), String::new());
        loop {
            let began = Instant::now();
            let Err(lost) = self.session(&mut unsent, &mut held).await else { return };
            let why = lost.to_string();
            if why != said {
                warn!("records, exchange {}: {why}; it is tried again", self.exchange);
                said = why;
            }
            backoff.held(began.elapsed());
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// One connection, until it is lost; Ok: nobody writes any more.
    async fn session(&self, unsent: &mut mpsc::Receiver<Line>, held: &mut Held<'_>) -> Result<(), Lost> {
        let connection = self.broker.connect().await?;
        let channel = self.declare(&connection).await?;
        info!("records: published to exchange {}", self.exchange);
        loop {
            if held.lines.is_empty() {
                tokio::select! {
                    count = unsent.recv_many(&mut held.lines, AT_ONCE) => if count == 0 { return Ok(()) },
                    () = end_of(&connection) => return Err(Lost::HungUp),
                }
            }
            let sent = timeout(CONFIRM, self.publish(&channel, &held.lines)).await;
            let refused = sent.map_err(|_| Lost::Unconfirmed)??;
            held.counts.lose(Loss::Broker, refused);
            held.lines.clear();
        }
    }

    async fn declare(&self, connection: &Connection) -> Result<Channel, Lost> {
        let channel = connection.create_channel().await.map_err(Lost::doing("opening a channel"))?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let name = self.exchange.as_str();
        let made = channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default()).await;
        made.map_err(Lost::doing(format!("making exchange {name}")))?;
        let confirming = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirming.map_err(Lost::doing("asking for confirmations"))?;
        Ok(channel)
    }

    /// How many the broker does not take.
    async fn publish(&self, channel: &Channel, lines: &[Line]) -> Result<u64, Lost> {
        let lost = || Lost::doing(format!("writing to exchange {}", self.exchange));
        let mut confirmations = Vec::with_capacity(lines.len());
        for line in lines {
            let key = format!("record.{}", line.kind.label());
            let properties =
                BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(PERSISTENT);
            let (exchange, key) = (self.exchange.as_str().into(), key.as_str().into());
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish(exchange, key, options, line.text.as_bytes(), properties).await;
            confirmations.push(sent.map_err(lost())?);
        }
        let mut refused = 0;
        for confirmation in confirmations {
            refused += u64::from(matches!(confirmation.await.map_err(lost())?, Confirmation::Nack(_)));
        }
        Ok(refused)
    }
}
