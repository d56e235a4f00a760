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
    /// The labels, beside `database` where it is about one.
    pub labels: &'static [&'static str],
}

/// A page of metrics being written. All samples of a metric have to stand together, whichever database they are of.
#[derive(Default)]
pub(super) struct Exposition {
    /// Each metric with its lines, in the order in which they were first written.
    metrics: Vec<(&'static str, String)>,
    /// What is being written is about this one.
    database: Option<String>,
}

impl Exposition {
    /// What follows is about a database.
    pub(super) fn about(&mut self, database: &str) {
        self.database = Some(escaped(database));
    }

    /// Writes a metric: a sample for each row of values of its labels.
    pub(super) fn write<V: Display, const N: usize>(
        &mut self,
        metric: &Metric,
        samples: impl IntoIterator<Item = ([String; N], V)>,
    ) {
        self.place(metric);
        for (labels, value) in samples {
            let labels = self.labels(metric, &labels);
            self.line(metric, format_args!("{}{{{labels}}} {value}", metric.name));
        }
    }

    /// Writes a histogram for each row of values of its labels.
    pub(super) fn write_histograms<const N: usize>(
        &mut self,
        metric: &Metric,
        histograms: impl IntoIterator<Item = ([String; N], Histogram)>,
    ) {
        self.place(metric);
        let name = metric.name;
        for (labels, histogram) in histograms {
            let labels = self.labels(metric, &labels);
            let mut line = |line: std::fmt::Arguments<'_>| self.line(metric, line);
            for (bound, count) in histogram.buckets() {
                line(format_args!(
                    "{name}_bucket{{{labels},le=\"{bound}\"}} {count}"
                ));
            }
            let count = histogram.count();
            line(format_args!(
                "{name}_bucket{{{labels},le=\"+Inf\"}} {count}"
            ));
            line(format_args!("{name}_sum{{{labels}}} {}", histogram.sum()));
            line(format_args!("{name}_count{{{labels}}} {count}"));
        }
    }

    pub(super) fn into_text(self) -> String {
        self.metrics.into_iter().map(|(_, text)| text).collect()
    }

    fn labels(&self, metric: &Metric, values: &[String]) -> String {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let own = metric.labels.iter().zip(values);
        let own = own.map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
        let database = self.database.iter();
        let database = database.map(|database| format!("database=\"{database}\""));
        database.chain(own).collect::<Vec<_>>().join(",")
    }

    fn line(&mut self, metric: &Metric, line: std::fmt::Arguments<'_>) {
        // writing to a text does not fail
        let _ = writeln!(self.place(metric), "{line}");
    }

    /// Where the lines of a metric go.
    fn place(&mut self, metric: &Metric) -> &mut String {
        let Metric {
            name, kind, help, ..
        } = metric;
        let at = self.metrics.iter().position(|(known, _)| known == name);
        let at = at.unwrap_or_else(|| {
            let head = format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
            self.metrics.push((name, head));
            self.metrics.len() - 1
        });
        &mut self.metrics[at].1
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
        let metric = |name, kind| Metric {
            name,
            kind,
            help: "A test.",
            labels: &["view"],
        };
        let mut page = Exposition::default();
        page.about("shop");
        page.write(
            &metric("x", Kind::Gauge),
            [(["a\"b\\c\nd".to_owned()], 1.5)],
        );
        let mut histogram = Histogram::default();
        histogram.observe(0.002);
        page.write_histograms(
            &metric("x_seconds", Kind::Histogram),
            [(["v".to_owned()], histogram)],
        );
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# HELP x A test.");
        assert_eq!(lines[2], r#"x{database="shop",view="a\"b\\c\nd"} 1.5"#);
        assert_eq!(lines[4], "# TYPE x_seconds histogram");
        assert!(text.contains(r#"x_seconds_bucket{database="shop",view="v",le="0.0025"} 1"#));
        assert!(text.contains(r#"x_seconds_bucket{database="shop",view="v",le="+Inf"} 1"#));
        assert!(text.ends_with("x_seconds_count{database=\"shop\",view=\"v\"} 1\n"));
    }

    #[test]
    fn samples_of_a_metric_stand_together_whichever_database_they_are_of() {
        let metric = |name| Metric {
            name,
            kind: Kind::Gauge,
            help: "A test.",
            labels: &[],
        };
        let mut page = Exposition::default();
        page.write(&metric("up"), [([], 1)]);
        for database in ["a", "b"] {
            page.about(database);
            page.write(&metric("x"), [([], 1)]);
            page.write(&metric("y"), [([], 2)]);
        }
        let text = page.into_text();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "up{} 1",
                "x{database=\"a\"} 1",
                "x{database=\"b\"} 1",
                "y{database=\"a\"} 2",
                "y{database=\"b\"} 2",
            ]
        );
        assert_eq!(text.matches("# TYPE x gauge").count(), 1);
    }
}
