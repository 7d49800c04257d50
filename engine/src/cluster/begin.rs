use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use crate::cluster::message::{Body, Hello, Message, PartHead, glance, mark};
use crate::cluster::snapshot::EVERY;
use crate::cluster::stream::{Item, Log, Reader, Start, Writer};
use crate::cluster::{Cluster, LogError, blocking, chance};
use crate::control::log::{Logged, Place};
use crate::control::merge::Read;

/// How long a hello may take to come back before it is written again. Longer: a broker in trouble is waited for. Shorter:
/// more hellos in the log.
const HELLO: Duration = Duration::from_secs(5);
/// Hellos before the broker is given up.
const HELLOS: usize = 3;
/// How long a snapshot that is wanted may take. Longer: a node that is alone is without a part of the log for longer.
const WANTED: Duration = Duration::from_secs(30);
/// How often a snapshot is looked for while it is awaited.
const LOOK: Duration = Duration::from_secs(2);

/// What became of the wish to read on from a place.
enum Resumed {
    /// Here it goes on.
    Here(Box<Reader>, Vec<Item>),
    /// The broker has thrown away what comes next.
    Gone,
    /// The log is another.
    Another,
}

/// A snapshot in the log.
struct Found {
    head: PartHead,
    /// The offsets of its first piece and its last.
    from: u64,
    to: u64,
}

/// What a search has found.
struct Searched {
    /// The oldest offset that was read.
    first: Option<u64>,
    /// The newest snapshot of which all pieces are there.
    newest: Option<Found>,
}

impl Cluster {
    /// Finds out where the log ends: writes a hello, and hears where it stands.
    pub(super) async fn greet(&self, log: &Log, writer: &Writer) -> Result<u64, LogError> {
        let mut reader = log.reader(Start::Next).await?;
        for _ in 0..HELLOS {
            let id = chance();
            self.hello(writer, Hello { id, wants_snapshot: false }).await?;
            match timeout(HELLO, own(&mut reader, id)).await {
                Ok(offset) => {
                    let offset = offset?;
                    reader.close().await;
                    return Ok(offset);
                }
                Err(_) => warn!("cluster {}: a hello does not come back; once more", self.member.log),
            }
        }
        Err(LogError::Silent(self.member.log.clone()))
    }

    pub(super) async fn hello(&self, writer: &Writer, hello: Hello) -> Result<(), LogError> {
        writer.write([Message::new(&self.member.node, self.run, Body::Hello(hello)).bytes()]).await
    }

    /// A reader that goes on where this node has stopped, with what it has read already; where that cannot be, one that
    /// begins with the newest snapshot, or at the beginning. `head` is the offset of the hello.
    pub(super) async fn begin(
        self: &Arc<Self>,
        log: &Log,
        writer: &Writer,
        mut head: u64,
    ) -> Result<(Reader, Vec<Item>), LogError> {
        let place = self.place().await?;
        if place.next > 0 {
            match self.resume(log, place, head).await? {
                Resumed::Here(reader, items) => return Ok((*reader, items)),
                Resumed::Gone => info!(
                    "cluster {}: the broker has thrown away what this node has not read yet; it begins with a snapshot",
                    self.member.log
                ),
                Resumed::Another => self.another().await?,
            }
        }
        let end = tokio::time::Instant::now() + WANTED;
        let (mut asked, mut gone) = (false, None);
        loop {
            let searched = match self.search(log, recent(), head).await? {
                Searched { newest: None, .. } => self.search(log, Start::First, head).await?,
                found => found,
            };
            if let Some(found) = searched.newest.filter(|found| gone != Some(found.head.id)) {
                let id = found.head.id;
                let place = self.take(log, found).await?;
                match self.resume(log, place, head).await? {
                    Resumed::Here(reader, items) => return Ok((*reader, items)),
                    Resumed::Gone => gone = Some(id),
                    // it was written behind the hello
                    Resumed::Another => {}
                }
            } else if searched.first == Some(0) {
                break;
            }
            if tokio::time::Instant::now() > end {
                warn!(
                    "cluster {}: the broker has thrown away the beginning, and no node has written a snapshot; this node holds only what was decided since",
                    self.member.log
                );
                break;
            }
            if !asked {
                self.hello(writer, Hello { id: chance(), wants_snapshot: true }).await?;
                asked = true;
            }
            tokio::time::sleep(LOOK).await;
            // what is written now stands behind the first hello
            head = self.greet(log, writer).await?;
        }
        Ok((log.reader(Start::First).await?, Vec::new()))
    }

    /// Reads on from `place`, if that message is still there and still the same.
    async fn resume(&self, log: &Log, place: Place, head: u64) -> Result<Resumed, LogError> {
        if head < place.next {
            return Ok(Resumed::Another);
        }
        let Some(last) = place.next.checked_sub(1) else {
            return Ok(Resumed::Here(Box::new(log.reader(Start::First).await?), Vec::new()));
        };
        // The hello at least comes: what is beyond the end would be waited for in vain.
        let mut reader = log.reader(Start::At(last)).await?;
        let items = reader.next().await?;
        let resumed = match items.first() {
            Some(first) if first.offset > last => Resumed::Gone,
            Some(first) if place.mark != 0 && mark(&first.bytes) != place.mark => Resumed::Another,
            _ => return Ok(Resumed::Here(Box::new(reader), items.into_iter().skip(1).collect())),
        };
        reader.close().await;
        Ok(resumed)
    }

    /// The stream was deleted and made anew, or the broker was.
    async fn another(self: &Arc<Self>) -> Result<(), LogError> {
        warn!("cluster {}: the log is another than it was; this node writes there what it holds", self.member.log);
        let this = Arc::clone(self);
        blocking(move || this.control.read_again()).await??;
        let mut state = self.state();
        (state.anew, state.since) = (true, Default::default());
        Ok(())
    }

    /// Looks for the newest whole snapshot up to the hello at `head`.
    async fn search(&self, log: &Log, from: Start, head: u64) -> Result<Searched, LogError> {
        let mut reader = log.reader(from).await?;
        let (mut searched, mut pieces) = (Searched { first: None, newest: None }, HashMap::<u64, Found>::new());
        loop {
            // where this host's clock is ahead of the broker's by hours, nothing comes at all
            let Ok(items) = timeout(HELLO, reader.next()).await else { break };
            let items = items?;
            let at_end = items.last().is_some_and(|last| last.offset >= head);
            searched.first = searched.first.or(items.first().map(|first| first.offset));
            let glances = move || {
                let vouched = items.into_iter().filter(|item| item.vouched);
                vouched.filter_map(|item| Some((item.offset, glance(&item.bytes)?))).collect::<Vec<_>>()
            };
            for (offset, piece) in blocking(glances).await? {
                let found = pieces.entry(piece.id).or_insert(Found { head: piece, from: offset, to: offset });
                // in their order: a gap, and it is none
                let begins = piece.part == 0;
                let follows = found.head.part.checked_add(1) == Some(piece.part) && found.head.of == piece.of;
                if !begins && !follows {
                    pieces.remove(&piece.id);
                    continue;
                }
                (found.head, found.to) = (piece, offset);
                if begins {
                    found.from = offset;
                }
                if piece.part + 1 == piece.of {
                    searched.newest = pieces.remove(&piece.id);
                }
            }
            if at_end {
                break;
            }
        }
        reader.close().await;
        Ok(searched)
    }

    /// Takes all that is in a snapshot. What has come by then counts as read only with the last piece.
    async fn take(self: &Arc<Self>, log: &Log, found: Found) -> Result<Place, LogError> {
        let Found { head, from, to } = found;
        let mut reader = log.reader(Start::At(from)).await?;
        let mut rows = 0;
        loop {
            let items = reader.next().await?;
            let at_end = items.last().is_some_and(|last| last.offset >= to);
            let this = Arc::clone(self);
            let taken = blocking(move || -> Result<usize, LogError> {
                let mut rows = 0;
                for item in items.into_iter().filter(|item| item.vouched && item.offset <= to) {
                    let Ok((_, _, Body::Part(part))) = Message::read(&item.bytes) else { continue };
                    if part.head.id != head.id {
                        continue;
                    }
                    let is_last = part.head.part + 1 == part.head.of;
                    let place = if is_last { head.place() } else { Place::default() };
                    rows += part.rows.len();
                    let merged = this.control.merge(vec![snapshot(part.nodes, part.rows, from)], place)?;
                    this.count(&merged);
                }
                Ok(rows)
            });
            rows += taken.await??;
            if at_end {
                reader.close().await;
                info!("cluster {}: took a snapshot of {rows} decisions", self.member.log);
                return Ok(head.place());
            }
        }
    }
}

/// A piece of a snapshot to merge. What had no place in another log has the same here for everybody.
pub(super) fn snapshot(nodes: Vec<(Arc<str>, u64)>, rows: Vec<Logged>, offset: u64) -> Read {
    let placed = |row: Logged| Logged { offset: row.offset.or(Some(offset)), ..row };
    Read::Snapshot { nodes, rows: rows.into_iter().map(placed).collect() }
}

/// Twice as far back as snapshots are apart: the last one is there, whoever wrote it.
fn recent() -> Start {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Start::Since(now.saturating_sub(EVERY * 2).as_secs())
}

/// Waits for the hello of this id.
async fn own(reader: &mut Reader, id: u64) -> Result<u64, LogError> {
    loop {
        for item in reader.next().await? {
            if let Ok((_, _, Body::Hello(hello))) = Message::read(&item.bytes)
                && hello.id == id
            {
                return Ok(item.offset);
            }
        }
    }
}
