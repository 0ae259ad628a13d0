//! The text format of Prometheus, version 0.0.4.
//!
//! Written by hand, since all that is encoded here is read from elsewhere at scrape time: there is
//! nothing to register and nothing to lock.

use std::fmt::{Display, Write};

/// The media type of the format.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bounds.
    Histogram,
}

/// A text of metrics under way.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// One metric under way: its head is written, its samples follow.
#[derive(Debug)]
pub(super) struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// Begins a metric. Each name is begun once.
    pub(super) fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> Metric<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        append(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Metric { text: &mut self.0, name }
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Metric<'_> {
    /// One sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// A histogram: counts of observations up to each bound (not cumulated), those beyond the last
    /// bound, and the sum of all observations.
    pub(super) fn histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl IntoIterator<Item = (f64, u64)>,
        beyond: u64,
        sum: f64,
    ) -> &mut Self {
        let mut total = 0;
        for (bound, count) in buckets {
            total += count;
            self.line("_bucket", labels, Some(&bound.to_string()), total);
        }
        total += beyond;
        self.line("_bucket", labels, Some("+Inf"), total);
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, total);
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        append(self.text, format_args!("{}{suffix}", self.name));
        let bound = bound.map(|bound| ("le", bound));
        for (index, (name, value)) in labels.iter().copied().chain(bound).enumerate() {
            let separator = if index == 0 { '{' } else { ',' };
            append(self.text, format_args!("{separator}{name}=\""));
            for next in value.chars() {
                match next {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let close = if labels.is_empty() && bound.is_none() { "" } else { "}" };
        append(self.text, format_args!("{close} {value}\n"));
    }
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a text does not fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::{Exposition, Kind};

    #[test]
    fn metrics_are_written_in_the_text_format() {
        let mut text = Exposition::default();
        text.metric("a_total", Kind::Counter, "How many.")
            .sample(&[("route", "x\"y\\z\n")], 3_u64)
            .sample(&[], 4_u64);
        text.metric("b", Kind::Histogram, "How long.").histogram(&[("r", "s")], [(0.5, 2), (1.0, 0)], 1, 2.5);
        assert_eq!(
            text.finish(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total{route=\"x\\\"y\\\\z\\n\"} 3\na_total 4\n\
             # HELP b How long.\n# TYPE b histogram\nb_bucket{r=\"s\",le=\"0.5\"} 2\nb_bucket{r=\"s\",le=\"1\"} 2\n\
             b_bucket{r=\"s\",le=\"+Inf\"} 3\nb_sum{r=\"s\"} 2.5\nb_count{r=\"s\"} 3\n"
        );
    }
}
