use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::record::{Call, Kind, Record, Summary, What};

/// How long what a source does is gathered before it is written, ns. Shorter: more lines in an attack. Longer: a crash in
/// an attack loses more, and what is read is older.
pub const INTERVAL: u64 = 60_000_000_000;
/// Sources that get a line of their own in each interval; all others together get one. Fewer: a scan from a botnet is one
/// line. More: a flood of spoofed sources is as many lines, each of a packet or two.
pub const SOURCES_MAX: usize = 1_000;
/// Statuses that are counted apart, of each kind and source. Softswitches use a handful.
pub const STATUSES_MAX: usize = 8;
/// Numbers that are shown of those that a source called.
pub const SAMPLES: usize = 3;
/// Bytes of each of them.
const SAMPLE_MAX: usize = 64;
/// The longest line of a summary, bytes: three kinds with nine counts of 20 digits each, three samples of which every byte is
/// escaped.
pub const LINE_MAX: usize = 3 * (20 + (STATUSES_MAX + 1) * 30) + SAMPLES * (6 * SAMPLE_MAX + 3) + 256;

/// What sources do in an attack, until it is written.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    sources: HashMap<IpAddr, Gathered>,
    others: Option<Gathered>,
    /// When the first of it came, ns of `CLOCK_MONOTONIC`.
    since: Option<u64>,
}

/// Of one source, or of all others.
#[derive(Debug, Default)]
struct Gathered {
    first: f64,
    last: f64,
    count: u64,
    /// `None`: all other statuses.
    counts: BTreeMap<(Kind, Option<u16>), u64>,
    called: Vec<String>,
}

impl Summaries {
    /// Counts this record of `call`, at `now` (ns of `CLOCK_MONOTONIC`).
    pub(super) fn add(&mut self, time: f64, kind: Kind, call: &Call, now: u64) {
        self.since.get_or_insert(now);
        let has_room = self.sources.len() < SOURCES_MAX || self.sources.contains_key(&call.source);
        let gathered = match has_room {
            true => self.sources.entry(call.source).or_default(),
            false => self.others.get_or_insert_default(),
        };
        gathered.add(time, kind, call);
    }

    /// Is it time to write?
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.since.is_some_and(|since| now.saturating_sub(since) >= INTERVAL)
    }

    /// What there is goes to `tell`, those who did most first, and is forgotten.
    pub(super) fn flush(&mut self, tell: &mut dyn FnMut(Record)) {
        self.since = None;
        let mut sources: Vec<_> = self.sources.drain().collect();
        sources.sort_by(|(a, one), (b, other)| other.count.cmp(&one.count).then(a.cmp(b)));
        let named = sources.into_iter().map(|(source, gathered)| (Some(source), gathered));
        for (source, gathered) in named.chain(self.others.take().map(|others| (None, others))) {
            let time = gathered.last;
            tell(Record { time, what: What::Summary(Box::new(gathered.summary(source))) });
        }
        // A flood has gone; its room goes, too.
        self.sources.shrink_to(SOURCES_MAX);
    }
}

impl Gathered {
    fn add(&mut self, time: f64, kind: Kind, call: &Call) {
        if self.count == 0 {
            (self.first, self.last) = (time, time);
        }
        (self.first, self.last) = (self.first.min(time), self.last.max(time));
        self.count += 1;
        let known = self.counts.contains_key(&(kind, Some(call.cause.status)));
        let has_room =
            || self.counts.keys().filter(|(of, status)| *of == kind && status.is_some()).count() < STATUSES_MAX;
        let status = (known || has_room()).then_some(call.cause.status);
        *self.counts.entry((kind, status)).or_default() += 1;
        let called = if call.request_uri.is_empty() { &call.to } else { &call.request_uri };
        let end = (0..=called.len().min(SAMPLE_MAX)).rev().find(|end| called.is_char_boundary(*end)).unwrap_or(0);
        let called = &called[..end];
        if self.called.len() < SAMPLES && !called.is_empty() && !self.called.iter().any(|one| one == called) {
            self.called.push(called.to_owned());
        }
    }

    fn summary(self, source: Option<IpAddr>) -> Summary {
        let mut counts = BTreeMap::<Kind, BTreeMap<String, u64>>::new();
        for ((kind, status), count) in self.counts {
            let status = status.map_or_else(|| "other".to_owned(), |status| status.to_string());
            counts.entry(kind).or_default().insert(status, count);
        }
        let Self { first, last, count, called, .. } = self;
        Summary { source, first, last, count, counts, called }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Cause;
    use super::*;
    use crate::control::terminal::printable_json;

    fn call(source: u32, status: u16, to: &str) -> Call {
        Call {
            source: IpAddr::V4(source.into()),
            source_port: 5060,
            known: false,
            from: "sip:a@e.com".into(),
            to: to.into(),
            request_uri: String::new(),
            call_id: "1".into(),
            user_agent: String::new(),
            seconds: None,
            cause: Cause { status, reason_phrase: String::new(), reason: String::new() },
        }
    }

    fn flushed(summaries: &mut Summaries) -> Vec<Summary> {
        let mut all = Vec::new();
        summaries.flush(&mut |record| match record.what {
            What::Summary(summary) => all.push(*summary),
            other => panic!("{other:?}"),
        });
        all
    }

    #[test]
    fn a_source_is_a_line_whatever_it_does() {
        let mut summaries = Summaries::default();
        for n in 0..10u16 {
            summaries.add(f64::from(n), Kind::ZeroDuration, &call(7, 404, &format!("sip:{n}@e.com")), 1);
        }
        summaries.add(3.5, Kind::IllegalCall, &call(7, 403, "sip:0@e.com"), 1);
        summaries.add(4.5, Kind::IllegalCall, &call(8, 403, ""), 1);
        let all = flushed(&mut summaries);
        assert_eq!(all.len(), 2);
        let Summary { source, first, last, count, counts, called } = &all[0];
        assert_eq!((*source, *first, *last, *count), (Some(IpAddr::V4(7.into())), 0.0, 9.0, 11));
        assert_eq!(serde_json::to_string(counts).unwrap(), r#"{"illegal_call":{"403":1},"zero_duration":{"404":10}}"#);
        assert_eq!(*called, ["sip:0@e.com", "sip:1@e.com", "sip:2@e.com"]);
        assert_eq!((all[1].count, all[1].called.len()), (1, 0));
        assert!(flushed(&mut summaries).is_empty());
    }

    #[test]
    fn it_is_due_a_minute_after_its_first() {
        let mut summaries = Summaries::default();
        assert!(!summaries.is_due(u64::MAX));
        summaries.add(1.0, Kind::ZeroDuration, &call(7, 404, ""), 5);
        summaries.add(1.0, Kind::ZeroDuration, &call(7, 404, ""), 50 * 1_000_000_000);
        assert!(!summaries.is_due(INTERVAL + 4) && summaries.is_due(INTERVAL + 5));
        flushed(&mut summaries);
        assert!(!summaries.is_due(u64::MAX));
    }

    /// A million sources, each status there is, numbers of nothing but what is escaped.
    #[test]
    fn a_flood_is_no_more_lines_than_there_is_room_for_and_none_is_longer_than_said() {
        let mut summaries = Summaries::default();
        let mut count = 0;
        for source in 0..1_000_000u32 {
            let kind = [Kind::IllegalCall, Kind::ZeroDuration, Kind::GatewayRefusal][source as usize % 3];
            let hostile = format!("{}{source}", "\u{1}".repeat(300));
            summaries.add(1_700_000_000.123, kind, &call(source, 300 + (source / 3 % 400) as u16, &hostile), 1);
            // some of it by the same few
            summaries.add(1_700_000_000.123, kind, &call(source % 10, 300 + (source % 400) as u16, &hostile), 1);
            count += 2;
        }
        let all = flushed(&mut summaries);
        assert_eq!(all.len(), SOURCES_MAX + 1);
        assert_eq!(all.iter().map(|summary| summary.count).sum::<u64>(), count);
        assert_eq!(all.iter().filter(|summary| summary.source.is_none()).count(), 1);
        for summary in all {
            assert_eq!(summary.counts.values().flat_map(BTreeMap::values).sum::<u64>(), summary.count);
            let record = Record { time: summary.last, what: What::Summary(Box::new(summary)) };
            let line = serde_json::to_string(&record).unwrap();
            let line = printable_json(&line);
            assert!(line.len() <= LINE_MAX, "{} of {LINE_MAX}: {line}", line.len());
        }
    }
}
