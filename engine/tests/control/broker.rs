use std::ffi::OsStr;
use std::future::Future;
use std::path::PathBuf;
use std::process::Command;

use futures_util::future::join_all;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use vos_bench::{NetNs, Program};

use crate::site::wait_until;

/// Debian's own; the one in the path changes to a user of its own.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
/// Names are those of a host that everybody has; the namespace keeps brokers apart.
const NODE: &str = "vos@localhost";

/// A RabbitMQ with all it has in a folder of its own, in a namespace that nobody else's Erlang is in. Dropped, it is killed
/// and its folder is gone.
pub(crate) struct Broker<'a> {
    server: Option<Program>,
    _epmd: Program,
    ns: &'a NetNs,
    address: String,
    certificate: Option<(PathBuf, PathBuf)>,
    dir: TempDir,
}

/// A message as it lies in a queue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) body: Vec<u8>,
    pub(crate) properties: BasicProperties,
}

impl Message {
    /// A header of text.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.properties.headers().as_ref()?.inner().get(name)?;
        Some(String::from_utf8_lossy(value.as_long_string()?.as_bytes()).into_owned())
    }
}

impl<'a> Broker<'a> {
    /// A broker in `ns` that listens at `address`, port 5672; gives control back when it answers. User and password are
    /// `guest`.
    #[track_caller]
    pub(crate) fn start(ns: &'a NetNs, address: &str) -> Self {
        Self::with(ns, address, None)
    }

    /// The same, and TLS with this certificate and key at port 5671.
    #[track_caller]
    pub(crate) fn start_tls(ns: &'a NetNs, address: &str, certificate: PathBuf, key: PathBuf) -> Self {
        Self::with(ns, address, Some((certificate, key)))
    }

    #[track_caller]
    fn with(ns: &'a NetNs, address: &str, certificate: Option<(PathBuf, PathBuf)>) -> Self {
        let dir = tempfile::Builder::new().prefix("vos-broker-").tempdir().unwrap();
        let mut epmd = ns.command("epmd");
        epmd.args(["-address", "127.0.0.1"]);
        let epmd = Program::start("epmd", &mut epmd, Some(&dir.path().join("epmd.log"))).unwrap();
        let mut broker = Self { server: None, _epmd: epmd, ns, address: address.to_owned(), certificate, dir };
        broker.configure();
        broker.restart();
        broker
    }

    fn configure(&self) {
        let address = &self.address;
        // The disk of a test machine may be nearly full; alarms would stop publishers.
        let mut config = format!(
            "listeners.tcp.1 = {address}:5672\nloopback_users = none\nlog.console = true\nlog.console.level = info\n\
             log.file = false\ndisk_free_limit.absolute = 1MB\n"
        );
        if let Some((certificate, key)) = &self.certificate {
            let (certificate, key) = (certificate.display(), key.display());
            config += &format!(
                "listeners.ssl.1 = {address}:5671\nssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n\
                 ssl_options.verify = verify_none\n"
            );
        }
        std::fs::write(self.path("rabbitmq.conf"), config).unwrap();
        std::fs::write(self.path("plugins"), "[].").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.ns.command(program);
        for (name, value) in [
            ("RABBITMQ_NODENAME", NODE),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null"),
            ("ERL_EPMD_ADDRESS", "127.0.0.1"),
            // the process that is started is the broker then, and no shell around it
            ("RUNNING_UNDER_SYSTEMD", "true"),
            // two schedulers that do not spin: the machine is others', too
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"),
        ] {
            command.env(name, value);
        }
        for (name, file) in [
            ("HOME", ""),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ] {
            command.env(name, self.path(file));
        }
        command.env_remove("NOTIFY_SOCKET");
        command
    }

    /// Starts it again with what it has on disk; gives control back when it answers.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert!(self.server.is_none(), "the broker runs");
        let server =
            Program::start("rabbitmq-server", &mut self.command(SERVER), Some(&self.path("broker.log"))).unwrap();
        let server = self.server.insert(server);
        // Its port is open before all its queues are there.
        wait_until("the broker answers", || {
            let log = server.log();
            assert!(server.ended().unwrap().is_none(), "the broker ended:\n{log}");
            log.contains("completed with")
        });
    }

    /// Ends it by SIGKILL, as a power cut would; its disk stays, and this queue is there. RabbitMQ 3 says that a queue is made
    /// before its disk always has it (`mnesia_sync` is passed over where Mnesia's log is dumped meanwhile).
    #[track_caller]
    pub(crate) fn kill(&mut self, queue: &str) {
        wait_until("the queue is written down", || self.has_written(queue));
        let mut server = self.server.take().expect("a running broker");
        killpg(Pid::from_raw(server.id().cast_signed()), Signal::SIGKILL).unwrap();
        wait_until("the broker is dead", || server.ended().unwrap().is_some());
    }

    /// Is it in Mnesia's table of durable queues, or in its log? There a transaction holds only with the decision behind it.
    fn has_written(&self, queue: &str) -> bool {
        let mut files = std::fs::read_dir(self.path("mnesia").join(NODE)).unwrap().map(|file| file.unwrap().path());
        files.any(|file| {
            let kind = file.extension().and_then(OsStr::to_str).unwrap_or_default();
            // it may have been renamed
            let text = std::fs::read(&file).unwrap_or_default();
            let after = find(&text, queue.as_bytes()).map(|at| &text[at..]);
            match kind {
                "DCL" | "DCD" => after.is_some(),
                "LOG" => after.is_some_and(|after| find(after, b"committed").is_some()),
                _ => false,
            }
        })
    }

    /// For `amqp.url`.
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@{}:5672", self.address)
    }

    /// Runs `rabbitmqctl`, which takes seconds.
    #[track_caller]
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        vos_bench::process::output(self.command(CTL).args(["-n", NODE]).args(words)).unwrap()
    }

    /// Declares a durable queue with these arguments.
    #[track_caller]
    pub(crate) fn declare(&self, queue: &str, arguments: FieldTable) {
        self.on_channel(async |channel| {
            channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
        });
    }

    /// Messages that lie ready in the queue; `None`: there is no such queue.
    #[track_caller]
    pub(crate) fn depth(&self, queue: &str) -> Option<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared =
            self.on_channel(async |channel| channel.queue_declare(queue.into(), passive, FieldTable::default()).await);
        match declared {
            Ok(queue) => Some(queue.message_count()),
            Err(error) if error.to_string().contains("NOT_FOUND - no queue") => None,
            Err(error) => panic!("{queue}: {error}"),
        }
    }

    /// Publishes to a queue; all are confirmed when this gives control back.
    #[track_caller]
    pub(crate) fn publish(&self, queue: &str, bodies: &[&[u8]]) {
        self.publish_with(queue, bodies, &BasicProperties::default());
    }

    /// The same with these properties, and persistent.
    #[track_caller]
    pub(crate) fn publish_with(&self, queue: &str, bodies: &[&[u8]], properties: &BasicProperties) {
        let properties = properties.clone().with_delivery_mode(2);
        self.on_channel(async |channel| {
            let confirmations = join_all(bodies.iter().map(|body| publish(&channel, queue, body, &properties))).await;
            assert!(confirmations.into_iter().all(|confirmed| confirmed.unwrap()), "not confirmed");
        });
    }

    /// Takes the oldest message of the queue.
    #[track_caller]
    pub(crate) fn get(&self, queue: &str) -> Option<Message> {
        self.on_channel(async |channel| {
            let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()?;
            got.ack(BasicAckOptions::default()).await.unwrap();
            Some(Message { body: got.delivery.data.clone(), properties: got.delivery.properties.clone() })
        })
    }

    /// A channel with publisher confirms on a connection of its own, for as long as `work` lasts.
    #[track_caller]
    pub(crate) fn on_channel<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce(Channel) -> F + Send) -> T {
        self.on_channel_as("guest:guest", work)
    }

    /// The same as this user, with this password.
    #[track_caller]
    pub(crate) fn on_channel_as<T: Send, F: Future<Output = T>>(
        &self,
        user: &str,
        work: impl FnOnce(Channel) -> F + Send,
    ) -> T {
        let url = format!("amqp://{user}@{}:5672", self.address);
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
                let channel = connection.create_channel().await.unwrap();
                channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
                let done = work(channel).await;
                // an error, where the channel is closing already
                let _done_with_it = connection.close(200, "OK".into()).await;
                done
            })
        };
        self.ns.enter(work).unwrap()
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            // Whatever it writes is thrown away: it need not end in good order.
            let _it_may_have_ended = killpg(Pid::from_raw(server.id().cast_signed()), Signal::SIGKILL);
        }
    }
}

/// Where these bytes stand first.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Publishes one message to a queue; true when the broker has confirmed that it is kept.
pub(crate) async fn publish(
    channel: &Channel,
    queue: &str,
    body: &[u8],
    properties: &BasicProperties,
) -> lapin::Result<bool> {
    publish_to(channel, "", queue, body, properties).await
}

/// The same by way of an exchange.
pub(crate) async fn publish_to(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: &BasicProperties,
) -> lapin::Result<bool> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, body, properties.clone()).await?;
    // a message that was sent back has found no queue
    Ok(matches!(confirm.await?, Confirmation::Ack(None)))
}
