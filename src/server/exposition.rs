//! The text format of Prometheus.

use std::fmt::{Display, Write};

use crate::vitals::Histogram;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by size.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric's name, kind and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// By Prometheus' conventions, its unit at the end.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// In a sentence.
    pub help: &'static str,
    /// The labels beside `database`.
    pub labels: &'static [&'static str],
}

/// A page of metrics being written.
pub(super) struct Exposition {
    text: String,
    database: String,
}

impl Exposition {
    /// All of them are about one database.
    pub(super) fn of(database: &str) -> Self {
        Self {
            text: String::new(),
            database: escaped(database),
        }
    }

    /// Writes a metric: a sample for each row of values of its labels.
    pub(super) fn write<V: Display, const N: usize>(
        &mut self,
        metric: &Metric,
        samples: impl IntoIterator<Item = ([String; N], V)>,
    ) {
        self.head(metric);
        for (labels, value) in samples {
            let labels = self.labels(metric, &labels);
            self.line(format_args!("{}{{{labels}}} {value}", metric.name));
        }
    }

    /// Writes a histogram for each row of values of its labels.
    pub(super) fn write_histograms<const N: usize>(
        &mut self,
        metric: &Metric,
        histograms: impl IntoIterator<Item = ([String; N], Histogram)>,
    ) {
        self.head(metric);
        let name = metric.name;
        for (labels, histogram) in histograms {
            let labels = self.labels(metric, &labels);
            for (bound, count) in histogram.buckets() {
                self.line(format_args!(
                    "{name}_bucket{{{labels},le=\"{bound}\"}} {count}"
                ));
            }
            let count = histogram.count();
            self.line(format_args!(
                "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"
            ));
            self.line(format_args!("{name}_sum{{{labels}}} {}", histogram.sum()));
            self.line(format_args!("{name}_count{{{labels}}} {count}"));
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, metric: &Metric) {
        let Metric {
            name, kind, help, ..
        } = metric;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {}", kind.name()));
    }

    fn labels(&self, metric: &Metric, values: &[String]) -> String {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let mut labels = format!("database=\"{}\"", self.database);
        for (label, value) in metric.labels.iter().zip(values) {
            // writing to a text does not fail
            let _ = write!(labels, ",{label}=\"{}\"", escaped(value));
        }
        labels
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // writing to a text does not fail
        let _ = writeln!(self.text, "{line}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_and_histograms_end_with_infinity() {
        let metric = |kind| Metric {
            name: "x_seconds",
            kind,
            help: "A test.",
            labels: &["view"],
        };
        let mut page = Exposition::of("shop");
        page.write(&metric(Kind::Gauge), [(["a\"b\\c\nd".to_owned()], 1.5)]);
        let mut histogram = Histogram::default();
        histogram.observe(0.002);
        page.write_histograms(&metric(Kind::Histogram), [(["v".to_owned()], histogram)]);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# HELP x_seconds A test.");
        assert_eq!(
            lines[2],
            r#"x_seconds{database="shop",view="a\"b\\c\nd"} 1.5"#
        );
        assert_eq!(lines[4], "# TYPE x_seconds histogram");
        assert!(text.contains(r#"x_seconds_bucket{database="shop",view="v",le="0.0025"} 1"#));
        assert!(text.contains(r#"x_seconds_bucket{database="shop",view="v",le="+Inf"} 1"#));
        assert!(text.ends_with("x_seconds_count{database=\"shop\",view=\"v\"} 1\n"));
    }
}
