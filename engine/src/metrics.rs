//! What is counted, for Prometheus: the OpenMetrics text format, version 1.0.0, for who asks for it, and Prometheus' own,
//! version 0.0.4, for all others. Values are read when they are asked for.
//!
//! Labels are words from lists that this engine knows, numbers of queues, and names from the configuration: never an
//! address of a packet's, or what stands in one.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::control::terminal::printable;

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As OpenMetrics says.
    Open,
    /// As Prometheus wrote it before, and every scraper reads it.
    Plain,
}

impl Format {
    /// The media type of OpenMetrics.
    pub const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    /// The media type of Prometheus' own format.
    pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// What whoever sends this `Accept` is given: OpenMetrics where it is named.
    pub fn accepted(accept: &str) -> Self {
        let mut ranges = accept.split(',').filter_map(|range| range.split(';').next());
        let is_open = ranges.any(|range| range.trim().eq_ignore_ascii_case("application/openmetrics-text"));
        if is_open { Self::Open } else { Self::Plain }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Open => Self::OPEN,
            Self::Plain => Self::PLAIN,
        }
    }
}

/// Somebody who has something to show.
pub trait Measured: Send + Sync + 'static {
    /// Writes what there is to the page. Called from threads that may block.
    fn measure(&self, page: &mut Page<'_>) -> fmt::Result;
}

/// What is shown, family by family. Names are written without unit and `_total`, which are put there.
#[derive(Debug)]
pub struct Page<'a>(DescriptorEncoder<'a>);

/// Labels of one value: names and words.
pub type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

impl Page<'_> {
    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [([], value)])
    }

    /// Counters of one name that differ in their labels.
    pub fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, None, MetricType::Counter, values)
    }

    /// A value without labels that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        self.gauges(name, help, unit, [([], value)])
    }

    /// Values of one name that go up and down and differ in their labels.
    pub fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: impl Into<Option<Unit>>,
        values: impl IntoIterator<Item = (Labels<'l, N>, f64)>,
    ) -> fmt::Result {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, unit.into().as_ref(), MetricType::Gauge, values)
    }

    /// What does not change: labels of one value, which is 1.
    pub fn info<const N: usize>(&mut self, name: &str, help: &str, labels: Labels<'_, N>) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&&labels[..])
    }

    fn family<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        values: impl IntoIterator<Item = (Labels<'l, N>, impl EncodeMetric)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in values {
            if N == 0 {
                value.encode(family)?;
                break;
            }
            let labels = labels.map(|(name, word)| (name, printable(word)));
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// All that is asked when a page is written.
struct All(Vec<Arc<dyn Measured>>);

impl fmt::Debug for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("All").field(&self.0.len()).finish()
    }
}

impl Collector for All {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.0.iter().try_for_each(|measured| measured.measure(&mut page))
    }
}

/// The page of all these, as it is now.
pub fn text(measured: Vec<Arc<dyn Measured>>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(measured)));
    let mut page = String::with_capacity(32 * 1024);
    text::encode(&mut page, &registry)?;
    Ok(match format {
        Format::Open => page,
        Format::Plain => plain(&page),
    })
}

/// A page of OpenMetrics in Prometheus' own format: there a family is called as its samples are, an info is a gauge, and
/// neither units nor the end are told.
fn plain(page: &str) -> String {
    let mut plain = String::with_capacity(page.len() + page.len() / 16);
    // HELP comes before TYPE, which says what the samples are called
    let mut help = None;
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(text)) => help = Some((name, text)),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    other => ("", other),
                };
                if let Some((_, text)) = help.take().filter(|(named, _)| *named == name) {
                    plain.extend(["# HELP ", name, suffix, " ", text, "\n"]);
                }
                plain.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            (Some("#"), ..) => {}
            _ => plain.extend([line, "\n"]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hostile;

    impl Measured for Hostile {
        fn measure(&self, page: &mut Page<'_>) -> fmt::Result {
            page.counter("vos_judged", "Packets", 7)?;
            page.counters("vos_none", "Nothing of the kind", std::iter::empty::<(Labels<'_, 1>, u64)>())?;
            page.gauges(
                "vos_size",
                "Sizes",
                Some(Unit::Bytes),
                [([("file", "a\"b\\c\nd\u{1b}[2J"), ("n", "1")], 1.5)],
            )?;
            page.info("vos_build", "The program", [("version", "1")])
        }
    }

    #[test]
    fn a_label_is_one_word_whatever_stands_in_it() {
        let page = text(vec![Arc::new(Hostile)], Format::Open).expect("room");
        let expected = "# HELP vos_judged Packets\n# TYPE vos_judged counter\nvos_judged_total 7\n\
                        # HELP vos_none Nothing of the kind\n# TYPE vos_none counter\n\
                        # HELP vos_size_bytes Sizes\n# TYPE vos_size_bytes gauge\n# UNIT vos_size_bytes bytes\n\
                        vos_size_bytes{file=\"a\\\"b\\\\c\\\\u{a}d\\\\u{1b}[2J\",n=\"1\"} 1.5\n\
                        # HELP vos_build The program\n# TYPE vos_build info\nvos_build_info{version=\"1\"} 1\n# EOF\n";
        assert_eq!(page, expected);
    }

    /// What `promtool check metrics` reads, which knows no OpenMetrics.
    #[test]
    fn the_plain_page_names_each_family_as_its_samples() {
        let page = text(vec![Arc::new(Hostile)], Format::Plain).expect("room");
        let expected = "# HELP vos_judged_total Packets\n# TYPE vos_judged_total counter\nvos_judged_total 7\n\
                        # HELP vos_none_total Nothing of the kind\n# TYPE vos_none_total counter\n\
                        # HELP vos_size_bytes Sizes\n# TYPE vos_size_bytes gauge\n\
                        vos_size_bytes{file=\"a\\\"b\\\\c\\\\u{a}d\\\\u{1b}[2J\",n=\"1\"} 1.5\n\
                        # HELP vos_build_info The program\n# TYPE vos_build_info gauge\n\
                        vos_build_info{version=\"1\"} 1\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn open_metrics_are_for_who_names_them() {
        for (accept, format) in [
            ("", Format::Plain),
            ("*/*", Format::Plain),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Plain),
            // Prometheus 2.42
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Open,
            ),
            ("text/plain, Application/OpenMetrics-Text ; version=1.0.0", Format::Open),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
