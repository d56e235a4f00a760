//! What is measured.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{FromRow, PgConnection};

use super::common::count;
use super::lateness;
use super::measure::{median, quantile, report, resident_mb};

/// Memory is compared with what it was from then on.
const SETTLED: Duration = Duration::from_secs(5 * 60);

/// A refresh as the history has it; instants in milliseconds since 1970.
#[derive(Debug, FromRow)]
pub(super) struct Refresh {
    id: i64,
    pub(super) view: i32,
    outcome: String,
    method: Option<String>,
    trigger: String,
    pub(super) due: Option<f64>,
    pub(super) started: f64,
    pub(super) duration_ms: Option<f64>,
}

impl Refresh {
    /// Begun by schedule, and done.
    pub(super) fn is_done_by_schedule(&self) -> bool {
        self.trigger == "schedule" && self.outcome == "succeeded"
    }

    pub(super) fn has_failed(&self) -> bool {
        self.outcome == "failed"
    }

    /// When it was over.
    pub(super) fn ended(&self) -> f64 {
        self.started + self.duration_ms.unwrap_or(0.0)
    }
}

/// A look at memory and logs.
#[derive(Debug)]
struct Look {
    after: Duration,
    daemon_mb: f64,
    log_rows: i64,
    log_mb: f64,
    load: f64,
}

/// Collected during the run.
#[derive(Debug)]
pub(super) struct Figures {
    since: i64,
    refreshes: HashMap<i64, Refresh>,
    looks: Vec<Look>,
    audits_different: i64,
}

impl Figures {
    /// From now on.
    pub(super) async fn begin(sql: &mut PgConnection) -> Self {
        let since = count(sql, "SELECT max(refresh_id) FROM mvrefresh.refresh_history").await;
        Self {
            since,
            refreshes: HashMap::new(),
            looks: Vec::new(),
            audits_different: 0,
        }
    }

    /// Looks at the history, at memory and at the logs.
    pub(super) async fn look(&mut self, sql: &mut PgConnection, after: Duration, daemon: u32) {
        self.read_history(sql).await;
        let logs = "SELECT concat_ws(' ', sum(n_live_tup)::bigint, sum(pg_total_relation_size(relid))::bigint)
            FROM pg_stat_user_tables WHERE schemaname = 'mvrefresh' AND relname ~ '^log\\$'";
        let logs: String = sqlx::query_scalar(logs).fetch_one(sql).await.unwrap();
        let (rows, bytes) = logs.split_once(' ').unwrap();
        self.looks.push(Look {
            after,
            daemon_mb: resident_mb(daemon),
            log_rows: rows.parse().unwrap(),
            log_mb: bytes.parse::<f64>().unwrap() / 1_048_576.0,
            load: load_average(),
        });
    }

    async fn read_history(&mut self, sql: &mut PgConnection) {
        // some are committed later than others with higher numbers, and old ones are pruned
        let query = "SELECT refresh_id AS id, mv_id AS view, outcome, method, trigger, duration_ms,
                   (extract(epoch FROM due_at) * 1000)::float8 AS due, (extract(epoch FROM started_at) * 1000)::float8 AS started
            FROM mvrefresh.refresh_history
            WHERE refresh_id > $1 AND started_at > clock_timestamp() - interval '5 minutes'";
        let rows: Vec<Refresh> = sqlx::query_as(query)
            .bind(self.since)
            .fetch_all(sql)
            .await
            .unwrap();
        self.refreshes
            .extend(rows.into_iter().map(|row| (row.id, row)));
    }

    /// What is left to be read.
    pub(super) async fn finish(&mut self, sql: &mut PgConnection) {
        self.read_history(sql).await;
        let different =
            "SELECT count(*) FROM mvrefresh.audits WHERE rows_missing + rows_unexpected > 0";
        self.audits_different = count(sql, different).await;
    }

    /// Prints all.
    pub(super) fn print(&self, inexact: usize, kills: &[f64]) {
        println!("| figure | measured | reach |");
        println!("| --- | --- | --- |");
        report(
            "views that differ from their queries at the end",
            &inexact.to_string(),
            "0",
        );
        report(
            "audits that found a difference",
            &self.audits_different.to_string(),
            "0",
        );
        self.print_refreshes(kills);
        self.print_looks();
        self.print_load();
    }

    fn print_refreshes(&self, kills: &[f64]) {
        let all = || self.refreshes.values();
        let done = |method: &str| {
            all()
                .filter(|refresh| {
                    refresh.outcome == "succeeded" && refresh.method.as_deref() == Some(method)
                })
                .count()
        };
        let failed = all().filter(|refresh| refresh.has_failed()).count();
        report(
            "refreshes: fast, complete, failed (broken off by kills)",
            &format!("{}, {}, {failed}", done("fast"), done("complete")),
            "",
        );
        let durations: Vec<f64> = all()
            .filter(|refresh| refresh.is_done_by_schedule())
            .filter_map(|refresh| refresh.duration_ms)
            .collect();
        let typical = median(&durations);
        report(
            "duration of a refresh",
            &format!(
                "p50 {typical:.1} ms, p99 {:.1} ms",
                quantile(&durations, 0.99)
            ),
            "",
        );
        lateness::print(all(), kills, typical);
    }

    fn print_load(&self) {
        let loads: Vec<f64> = self.looks.iter().map(|look| look.load).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        report(
            "load average of the machine, of which this is a part",
            &format!(
                "p50 {:.1}, most {:.1}, on {cores} cores",
                median(&loads),
                quantile(&loads, 1.0)
            ),
            "",
        );
    }

    fn print_looks(&self) {
        let settled: Vec<&Look> = self
            .looks
            .iter()
            .filter(|look| look.after >= SETTLED)
            .collect();
        let looks = if settled.len() < 24 {
            self.looks.iter().collect()
        } else {
            settled
        };
        // two minutes each
        let minutes = 12.min(looks.len() / 2).max(1);
        let mean = |looks: &[&Look]| {
            let sum: f64 = looks.iter().map(|look| look.daemon_mb).sum();
            #[allow(clippy::cast_precision_loss)]
            let count = looks.len() as f64;
            sum / count
        };
        let (first, last) = (
            mean(&looks[..minutes]),
            mean(&looks[looks.len() - minutes..]),
        );
        report(
            "memory of the daemon that lived, after 5 minutes and at the end",
            &format!(
                "{first:.1} MB, {last:.1} MB ({:+.1} %)",
                (last / first - 1.0) * 100.0
            ),
            "≤ 10 %",
        );
        let most = |value: fn(&Look) -> f64, looks: &[&Look]| {
            looks.iter().map(|look| value(look)).fold(0.0, f64::max)
        };
        let (early, late) = looks.split_at(looks.len() / 2);
        #[allow(clippy::cast_precision_loss)]
        let rows = |look: &Look| look.log_rows as f64;
        report(
            "rows in all logs at most, first and second half",
            &format!("{:.0}, {:.0}", most(rows, early), most(rows, late)),
            "no growth",
        );
        report(
            "size of all logs at most, first and second half",
            &format!(
                "{:.1} MB, {:.1} MB",
                most(|look| look.log_mb, early),
                most(|look| look.log_mb, late)
            ),
            "no growth",
        );
    }
}

/// How many processes wanted a core, on average over a minute.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
