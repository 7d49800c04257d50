use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::message::Delivery;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::timeout;
use tracing::warn;

use super::{Lost, declare, quorum};
use crate::feed::settle::SAID_EVERY;
use crate::seldom::Seldom;

/// The header that says why.
const REASON: &str = "x-vos-reason";
/// The longest reason, bytes.
const REASON_MAX: usize = 1_000;
/// Messages that are kept in a queue that the engine makes; the oldest go first. Fewer: evidence is lost. More: whoever sends
/// nonsense fills the broker's disk.
const KEPT: i32 = 100_000;
/// Bytes of messages that are kept there, the oldest go first: 600 for each of [`KEPT`], which an event has by far not.
/// Fewer: a few large ones drive out the others. More: the broker's disk again, since one message may have 128 MB.
const KEPT_BYTES: i64 = 64 << 20;
/// How long the broker may take to keep them: as long as a busy disk may. Longer: the queue stands still.
const CONFIRM: Duration = Duration::from_secs(10);
/// AMQP's delivery mode of messages that outlive the broker (basic.properties, §1.8.3).
const PERSISTENT: u8 = 2;
/// Headers up to about this size go along, bytes. With larger ones the frame of the properties, which is never split, could
/// outgrow what the broker takes.
const HEADERS_MAX: usize = 64 * 1024;

/// The queue for messages that make no sense or ask for what a feed may not.
pub(super) struct DeadLetters {
    channel: Channel,
    queue: String,
    thrown: Seldom,
}

impl DeadLetters {
    pub(super) async fn open(connection: &Connection, queue: &str) -> Result<Self, Lost> {
        let mut arguments = quorum();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(KEPT));
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(KEPT_BYTES));
        let channel = declare(connection, queue, arguments).await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(Lost::doing("asking for confirmations"))?;
        Ok(Self { channel, queue: queue.to_owned(), thrown: Seldom::default() })
    }

    /// When this gives control back, the broker has them, or does not want them.
    pub(super) async fn keep<'a>(
        &mut self,
        letters: impl Iterator<Item = (&'a Delivery, &'a String)>,
    ) -> Result<(), Lost> {
        let kept = try_join_all(letters.map(|(delivery, why)| self.keep_one(delivery, why)));
        let late = |_| Lost::Unconfirmed { queue: self.queue.clone(), limit: CONFIRM };
        let kept = timeout(CONFIRM, kept).await.map_err(late)??;
        self.say(kept.into_iter().flatten());
        Ok(())
    }

    /// Why it is bad, if it is not kept.
    async fn keep_one<'a>(&self, delivery: &Delivery, why: &'a str) -> Result<Option<&'a str>, Lost> {
        let (queue, properties) = (self.queue.as_str().into(), properties(&delivery.properties, why));
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let lost = || Lost::doing(format!("putting a bad message into {}", self.queue));
        let sent = self.channel.basic_publish("".into(), queue, options, &delivery.data, properties).await;
        match sent.map_err(lost())?.await.map_err(lost())? {
            Confirmation::Ack(None) => Ok(None),
            // It found no queue: it is made again with the next connection.
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Err(Lost::Cancelled(self.queue.clone())),
            // Its policy is to take no more; the feed does not wait for that.
            Confirmation::Nack(None) | Confirmation::NotRequested => Ok(Some(why)),
        }
    }

    /// Some of those that are thrown away are logged. What is wrong with them quotes whoever sent them.
    fn say<'a>(&mut self, thrown: impl Iterator<Item = &'a str>) {
        let Some((count, why)) = thrown.zip(1..).map(|(why, count)| (count, why)).last() else { return };
        if let Some(thrown) = self.thrown.more(count, SAID_EVERY) {
            let (queue, why) = (&self.queue, why.escape_debug());
            warn!("{queue} takes no more messages; {thrown} bad ones are thrown away, the last of them: {why}");
        }
    }
}

/// Those of the message, but for what would have the broker refuse it (user-id and reply-to can), send it elsewhere too, or
/// throw it away in time (expiration).
fn properties(of: &BasicProperties, why: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    if let Some(theirs) = of.headers().as_ref().filter(|headers| format!("{headers:?}").len() <= HEADERS_MAX) {
        // RabbitMQ's sender-selected distribution: more queues that a message goes to
        let stay = theirs.inner().iter().filter(|(name, _)| !["CC", "BCC"].contains(&name.as_str()));
        for (name, value) in stay {
            headers.insert(name.clone(), value.clone());
        }
    }
    let end = (0..=why.len().min(REASON_MAX)).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
    headers.insert(REASON.into(), AMQPValue::LongString(why[..end].into()));
    let mut kept = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
    macro_rules! keep {
        ($($name:ident $with:ident)*) => {
            $(if let Some(value) = of.$name() { kept = kept.$with(value.clone()); })*
        };
    }
    keep!(content_type with_content_type content_encoding with_content_encoding priority with_priority);
    keep!(correlation_id with_correlation_id message_id with_message_id timestamp with_timestamp);
    keep!(kind with_type app_id with_app_id);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_could_stumble_over_is_left_out() {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut headers = FieldTable::default();
        for (name, value) in [("tenant", "7"), ("CC", "vos.block"), ("BCC", "vos.block"), (REASON, "theirs")] {
            headers.insert(name.into(), text(value));
        }
        let of = BasicProperties::default().with_headers(headers).with_user_id("opensips".into());
        let of = of.with_expiration("1".into()).with_reply_to("amq.rabbitmq.reply-to".into()).with_delivery_mode(1);
        let kept = properties(&of.with_app_id("opensips".into()).with_message_id("1".into()), "no address");
        let headers = kept.headers().as_ref().expect("headers").inner();
        let names: Vec<_> = headers.keys().map(lapin::types::ShortString::as_str).collect();
        assert_eq!(names, ["tenant", REASON]);
        assert_eq!(headers[REASON], text("no address"));
        assert_eq!((kept.user_id(), kept.expiration(), kept.reply_to()), (&None, &None, &None));
        let id = |id: &Option<lapin::types::ShortString>| id.as_ref().map(ToString::to_string);
        assert_eq!((id(kept.app_id()), id(kept.message_id())), (Some("opensips".to_owned()), Some("1".to_owned())));
        assert_eq!(*kept.delivery_mode(), Some(PERSISTENT));
    }

    #[test]
    fn large_headers_and_long_reasons_are_cut() {
        let mut headers = FieldTable::default();
        headers.insert("much".into(), AMQPValue::LongString("x".repeat(HEADERS_MAX).into()));
        let why = "ü".repeat(REASON_MAX);
        let kept = properties(&BasicProperties::default().with_headers(headers), &why);
        let headers = kept.headers().as_ref().expect("headers").inner();
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[REASON], AMQPValue::LongString(why[..REASON_MAX].into()));
    }
}
