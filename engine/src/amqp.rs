//! The way to the broker: one connection over TCP or TLS, and how long to wait before the next try.

use std::fmt;
use std::fs;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use socket2::Socket;
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::{Amqp, Config};

/// How long finding the host, TCP, TLS and AMQP's greeting may each take. Shorter: a broker that starts under load is
/// called dead. Longer: one that hangs is found out later.
const STEP: Duration = Duration::from_secs(5);
/// Seconds between heartbeats. A broker whose machine is gone is noticed after two of them. Shorter: a broker in a long
/// pause is left though it would come back. Longer: what others decide is waited for longer.
const HEARTBEAT: u16 = 10;
/// The largest frame, bytes: RabbitMQ's own. Smaller: a message that somebody sends with headers as large as it takes could
/// not be read. Larger: lapin holds room for 64 of them.
const FRAME: u32 = 128 * 1024;
/// The longest name of a virtual host, bytes: AMQP's short string (§4.2.5.3).
const VHOST_MAX: usize = 255;
/// The wait before the second try.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait. Longer: decisions of others come late when the broker is back. Shorter: it is asked in vain, by
/// every engine there is.
const LONGEST: Duration = Duration::from_secs(10);

/// Why there is no connection. The message names the fix, and never the password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The URL cannot be read.
    #[error(
        "amqp.url cannot be read ({why}): write amqp://USER:PASSWORD@HOST:PORT/VHOST, with %XX for characters of user, password and virtual host that mean something in a URL, such as %2f for /"
    )]
    Url {
        /// What is wrong with it.
        why: String,
    },
    /// A file that the configuration names cannot be used.
    #[error("{key}, {path}: {why}")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The host has no address.
    #[error("the broker {host} is not found ({why}): correct the host in amqp.url, or write its address")]
    Host {
        /// What was looked for.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// No TCP connection.
    #[error("no connection to the broker at {at} ({why}): is RabbitMQ running there, and its port open to this host?")]
    Tcp {
        /// Host and port.
        at: String,
        /// What the system said.
        why: String,
    },
    /// No TLS.
    #[error("no TLS with the broker at {at}: {why}")]
    Tls {
        /// Host and port.
        at: String,
        /// What went wrong, and the fix.
        why: String,
    },
    /// The broker knows no such user, or not with this password.
    #[error(
        "the broker at {at} refuses user {user:?} with this password: correct amqp.url or amqp.password_file (guest is let in from the broker's own host alone)"
    )]
    Login {
        /// Host and port.
        at: String,
        /// Who was to be let in.
        user: String,
    },
    /// The virtual host is not there, or not for this user.
    #[error(
        "the broker at {at} has no virtual host {vhost:?} for user {user:?}: correct amqp.url, or run rabbitmqctl add_vhost and set_permissions"
    )]
    Vhost {
        /// Host and port.
        at: String,
        /// What was asked for.
        vhost: String,
        /// Who asked.
        user: String,
    },
    /// It does not speak AMQP 0-9-1, or not now.
    #[error(
        "no AMQP with the broker at {at} ({why}): is that its port for AMQP, and amqps:// what it wants there? Its log says more"
    )]
    Greeting {
        /// Host and port.
        at: String,
        /// What happened.
        why: String,
    },
}

/// The broker of a configuration. Two that are equal lead to the same place in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    url: Secret,
    password_file: PathBuf,
    ca_file: PathBuf,
    name: String,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Broker {
    /// The one of this configuration, if it names one.
    pub fn of(config: &Config) -> Option<Self> {
        let Amqp { url, password_file, ca_file, .. } = &config.amqp;
        (!url.is_empty()).then(|| Self {
            url: Secret(url.clone()),
            password_file: password_file.clone(),
            ca_file: ca_file.clone(),
            name: format!("vos-engine {}@{}", config.iface, config.cluster.node_name()),
        })
    }

    /// What its connections are called at the broker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects, once. Call it on the runtime that is to serve the connection. Password and certificates are read anew
    /// each time.
    pub async fn connect(&self) -> Result<Connection, BrokerError> {
        let uri = self.uri()?;
        let tls = (uri.scheme == AMQPScheme::AMQPS).then(|| self.tls()).transpose()?;
        let (host, port) = (uri.authority.host.clone(), uri.authority.port);
        let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let addresses = in_time(lookup_host((host.as_str(), port))).await;
        let addresses: Vec<_> =
            addresses.map_err(|error| BrokerError::Host { host: host.clone(), why: error.to_string() })?.collect();
        let no_tcp = |error: io::Error| BrokerError::Tcp { at: at.clone(), why: error.to_string() };
        let runtime = lapin::runtime::default_runtime().map_err(|error| no_tcp(io::Error::other(error)))?;
        let tcp = in_time(AsyncTcpStream::connect(&runtime, addresses)).await.map_err(no_tcp)?;
        let mut cut = Cut(None);
        if let AsyncTcpStream::Plain(tcp) = &tcp {
            cut.0 = Some(tcp.get_ref().as_fd().try_clone_to_owned().map_err(no_tcp)?.into());
        }
        let stream = match tls {
            Some(tls) => in_time(tcp.into_rustls(&tls, &host)).await.map_err(|error| self.no_tls(&at, &error))?,
            None => tcp,
        };
        let (user, vhost, stream) =
            (uri.authority.userinfo.username.clone(), uri.vhost.clone(), Mutex::new(Some(stream)));
        let once = async move |_, _| {
            let taken = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            taken.ok_or_else(|| lapin::Error::from(io::Error::from(io::ErrorKind::NotConnected)))
        };
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let made = timeout(STEP, Connection::connector(uri, runtime, once, properties)).await;
        let made = made.map_err(|_| BrokerError::greeting(&at, format!("no answer in {STEP:?}")))?;
        let connection = made.map_err(|error| BrokerError::refused(&error, &at, user, vhost))?;
        cut.0 = None;
        Ok(connection)
    }

    /// Are the files that it names there, and such as a connection needs? [`BrokerError::File`] if not.
    pub(crate) fn check_files(&self) -> Result<(), BrokerError> {
        let uri = self.uri()?;
        if uri.scheme == AMQPScheme::AMQPS && !self.ca_file.as_os_str().is_empty() {
            self.tls()?;
        }
        Ok(())
    }

    /// As whom it lets us in.
    pub fn user(&self) -> Result<String, BrokerError> {
        Ok(self.uri()?.authority.userinfo.username)
    }

    fn uri(&self) -> Result<AMQPUri, BrokerError> {
        let mut uri = parse(&self.url.0).map_err(|why| BrokerError::Url { why })?;
        if !self.password_file.as_os_str().is_empty() {
            uri.authority.userinfo.password = self.password()?;
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME);
        Ok(uri)
    }

    fn password(&self) -> Result<String, BrokerError> {
        let error = |why| BrokerError::File { key: "amqp.password_file", path: self.password_file.clone(), why };
        let text = fs::read_to_string(&self.password_file).map_err(|source| error(source.to_string()))?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(line.to_owned()),
            _ => Err(error("its first line is empty: write the password there".to_owned())),
        }
    }

    /// Whose signature is believed.
    fn tls(&self) -> Result<RustlsConnector, BrokerError> {
        let path = &self.ca_file;
        let error = |why| BrokerError::File { key: "amqp.ca_file", path: path.clone(), why };
        if path.as_os_str().is_empty() {
            let system = RustlsConnectorConfig::new_with_native_certs()
                .and_then(RustlsConnectorConfig::connector_with_no_client_auth);
            return system.map_err(|source| {
                error(format!("there are no certificates of the system's ({source}): install ca-certificates, or name those that you believe"))
            });
        }
        let pem = fs::read(path).map_err(|source| error(source.to_string()))?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|source| error(source.to_string()))?;
        if certificates.is_empty() {
            return Err(error(
                "there is no certificate in it: write it in PEM, beginning with -----BEGIN CERTIFICATE-----".to_owned(),
            ));
        }
        let believed = RustlsConnectorConfig::default().with_parsable_certificates(certificates);
        believed.connector_with_no_client_auth().map_err(|source| error(source.to_string()))
    }

    fn no_tls(&self, at: &str, error: &io::Error) -> BrokerError {
        let said = error.to_string();
        let fix = if said.contains("UnknownIssuer") {
            let believed = match self.ca_file.as_os_str().is_empty() {
                true => "this system's".to_owned(),
                false => format!("those in {}", self.ca_file.display()),
            };
            format!("its certificate is signed by none of {believed}: write amqp.ca_file")
        } else if said.contains("not valid for name") {
            "write the name that its certificate has as the host in amqp.url".to_owned()
        } else if said.contains("InvalidContentType") || error.kind() == io::ErrorKind::UnexpectedEof {
            "is that its port for TLS, 5671 as a rule?".to_owned()
        } else {
            "the broker's log says more".to_owned()
        };
        BrokerError::Tls { at: at.to_owned(), why: format!("{said}; {fix}") }
    }
}

impl BrokerError {
    fn greeting(at: &str, why: impl Into<String>) -> Self {
        Self::Greeting { at: at.to_owned(), why: why.into() }
    }

    fn refused(error: &lapin::Error, at: &str, user: String, vhost: String) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(said) => match said.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Self::Login { at: at.to_owned(), user },
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Self::Vhost { at: at.to_owned(), vhost, user },
                _ => Self::greeting(at, said.get_message().as_str()),
            },
            ErrorKind::IOError(_) | ErrorKind::InvalidConnectionState(_) => Self::greeting(at, "it hung up"),
            _ => Self::greeting(at, error.to_string()),
        }
    }
}

/// Shuts a connection that came to nothing: lapin's thread would wait for ever for a broker that never answers.
struct Cut(Option<Socket>);

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            let _it_may_be_shut_already = socket.shutdown(Shutdown::Both);
        }
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {STEP:?}"));
    timeout(STEP, work).await.map_err(late)?
}

/// Reads a URL. The error does not quote it, since it may hold a password.
pub(crate) fn parse(url: &str) -> Result<AMQPUri, String> {
    let mut uri: AMQPUri = url.parse().map_err(|why: String| why.replace(url, "…"))?;
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // lapin's reader takes neither an IPv6 address nor that there is no host: it would go to localhost instead.
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        uri.authority.host = address.to_owned();
    } else if host.is_empty() || host.starts_with(':') {
        return Err("it names no host".to_owned());
    }
    if uri.vhost.len() > VHOST_MAX {
        return Err(format!("its virtual host is longer than {VHOST_MAX} bytes"));
    }
    // as in amqp://HOST/: nobody means the virtual host without a name
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    Ok(uri)
}

/// How long to wait before the next try: twice as long each time, and by chance a little less, so that a broker that is
/// back is not met by everybody at once.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next wait: from half to all of what is due, which is 100 ms at first and at most 10 s.
    pub fn wait(&mut self) -> Duration {
        let due = self.next;
        self.next = (due * 2).min(LONGEST);
        // nobody's secret: the seed that the standard library makes its hash maps with
        let chance = RandomState::new().hash_one(()) as u32;
        due / 2 + (due / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    /// What was tried has worked for so long. From 10 s on the waits begin anew.
    pub fn held(&mut self, time: Duration) {
        if time >= LONGEST {
            self.next = FIRST;
        }
    }
}

#[cfg(test)]
mod tests;
