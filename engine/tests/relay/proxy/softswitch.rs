//! A softswitch that reads the PROXY protocol's line, and answers requests by itself. It says in each answer who it is
//! and whom the line named, and it knows only dialogs of its own. Written without the engine's code.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use vos_bench::NetNs;

use super::site::{Site, is, wait_until};

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The relay's socket.
    pub(crate) relay: SocketAddr,
    /// The line's words behind `PROXY`: family, source, destination, ports.
    pub(crate) line: Vec<String>,
    pub(crate) text: String,
}

impl Received {
    /// Whom the line names.
    pub(crate) fn caller(&self) -> SocketAddr {
        SocketAddr::new(self.line[1].parse().unwrap(), self.line[3].parse().unwrap())
    }

    /// Where the caller has sent it.
    pub(crate) fn called(&self) -> SocketAddr {
        SocketAddr::new(self.line[2].parse().unwrap(), self.line[4].parse().unwrap())
    }
}

/// It runs until it is dropped.
pub(crate) struct Softswitch {
    socket: Arc<UdpSocket>,
    received: Arc<Mutex<Vec<Received>>>,
    /// The engine's own questions.
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Softswitch {
    /// Listens at this address of the server's host.
    #[track_caller]
    pub(crate) fn start(host: &NetNs, name: &str, address: SocketAddr) -> Self {
        Self::answering(host, name, address, |_| true)
    }

    /// The same, but it answers only requests of which `answers` is true.
    #[track_caller]
    pub(crate) fn answering(
        host: &NetNs,
        name: &str,
        address: SocketAddr,
        answers: impl Fn(&Received) -> bool + Send + 'static,
    ) -> Self {
        let bind = || {
            let socket = UdpSocket::bind(address)?;
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(32 << 20))?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = Arc::new(host.enter(bind).unwrap().unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (received, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let asked = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn({
            let (socket, received, stop, name) =
                (Arc::clone(&socket), Arc::clone(&received), Arc::clone(&stop), name.to_owned());
            let asked = Arc::clone(&asked);
            move || {
                let mut buffer = vec![0; 65_536];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, relay)) = socket.recv_from(&mut buffer) else { continue };
                    let message = read(&buffer[..length], relay);
                    // The engine's own question is answered, and is nobody's message.
                    let own = message.text.starts_with("OPTIONS sip:") && message.called() == address;
                    // Before it is answered: who has the answer finds the message.
                    if own {
                        asked.fetch_add(1, Ordering::Relaxed);
                    } else {
                        received.lock().unwrap().push(message.clone());
                    }
                    let wants_none = ["SIP/2.0", "ACK "].iter().any(|start| message.text.starts_with(start));
                    if own || (!wants_none && answers(&message)) {
                        socket.send_to(&answer(&message, &name), relay).unwrap();
                    }
                }
            }
        });
        Self { socket, received, asked, stop, thread: Some(thread) }
    }

    /// Waits until the engine knows it as alive: it has answered once, and is asked again.
    #[track_caller]
    pub(crate) fn is_known(&self, site: &Site, name: &str) {
        wait_until(&format!("{name} is asked"), || self.asked.load(Ordering::Relaxed) > 1);
        is(site, name, "alive");
    }

    /// All that has come, but for the engine's own OPTIONS.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// How much that is.
    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// Waits for the first message that contains this.
    #[track_caller]
    pub(crate) fn gets(&self, part: &str) -> Received {
        let mut found = None;
        wait_until(&format!("{part:?} reaches the softswitch"), || {
            found = self.received.lock().unwrap().iter().find(|message| message.text.contains(part)).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends this to a socket of the relay's.
    #[track_caller]
    pub(crate) fn sends(&self, relay: SocketAddr, text: impl AsRef<[u8]>) {
        self.socket.send_to(text.as_ref(), relay).unwrap();
    }
}

impl Drop for Softswitch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the softswitch has panicked");
        }
    }
}

/// Takes the line off before a server that cannot read it, on its own host.
pub(crate) struct Shim {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Shim {
    /// Between the relay, which sends to `front`, and the server, which sees `back` as everybody.
    #[track_caller]
    pub(crate) fn start(host: &NetNs, front: SocketAddr, back: SocketAddr, server: SocketAddr) -> Self {
        let bind = |address| {
            let socket = host.enter(|| UdpSocket::bind(address)).unwrap().unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            Arc::new(socket)
        };
        let (front, back) = (bind(front), bind(back));
        let (stop, relay) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(HashMap::<String, SocketAddr>::new())));
        let inward = {
            let (front, back, stop, relay) =
                (Arc::clone(&front), Arc::clone(&back), Arc::clone(&stop), Arc::clone(&relay));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = front.recv_from(&mut buffer) else { continue };
                    let message = read(&buffer[..length], from);
                    relay.lock().unwrap().insert(header(&message.text, "Call-ID").to_owned(), from);
                    back.send_to(message.text.as_bytes(), server).unwrap();
                }
            })
        };
        let outward = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, _)) = back.recv_from(&mut buffer) else { continue };
                    let text = std::str::from_utf8(&buffer[..length]).expect("UTF-8");
                    // Which of its sockets the engine is answered at is told by the call.
                    let relay = relay.lock().unwrap().get(header(text, "Call-ID")).copied();
                    front.send_to(text.as_bytes(), relay.expect("a call that came this way")).unwrap();
                }
            })
        };
        Self { stop, threads: vec![inward, outward] }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        if !std::thread::panicking() {
            assert!(ended.iter().all(Result::is_ok), "the shim has panicked");
        }
    }
}

fn read(datagram: &[u8], relay: SocketAddr) -> Received {
    let text = String::from_utf8(datagram.to_vec()).expect("UTF-8");
    let (line, text) = text.split_once("\r\n").expect("a line");
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    assert_eq!((words.len(), words[0].as_str()), (6, "PROXY"), "{line}");
    assert!(words[1] == if words[2].contains(':') { "TCP6" } else { "TCP4" }, "{line}");
    Received { relay, line: words[1..].to_vec(), text: text.to_owned() }
}

/// The value of a header as it stands there.
pub(crate) fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// 200 to a request, unless it belongs to a dialog with another one's tag: the tag is the backend's name.
fn answer(message: &Received, name: &str) -> Vec<u8> {
    let tag = header(&message.text, "To").split_once(";tag=").map(|(_, tag)| tag);
    let known = tag.is_none_or(|tag| tag == name);
    respond(message, name, if known { "200 OK" } else { "481 Call/Transaction Does Not Exist" }, "")
}

/// Any response, with more headers.
pub(crate) fn respond(message: &Received, name: &str, status: &str, more: &str) -> Vec<u8> {
    let text = &message.text;
    let vias = text.lines().filter(|line| line.starts_with("Via: ")).fold(String::new(), |all, via| all + via + "\r\n");
    let to = header(text, "To");
    let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={name}") };
    let contact =
        text.lines().find(|line| line.starts_with("Contact: ")).map_or_else(String::new, |c| format!("{c}\r\n"));
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{contact}{more}X-Backend: {name}\r\n\
         X-Caller: {}\r\nContent-Length: 0\r\n\r\n",
        header(text, "From"),
        header(text, "Call-ID"),
        header(text, "CSeq"),
        message.caller(),
    )
    .into_bytes()
}
