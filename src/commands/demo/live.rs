//! The show: the table drawn again and again while the daemon refreshes and the writers write.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::daemon::Daemon;
use super::interrupt::Interrupt;
use super::numbers;
use super::output::Output;
use super::table;
use super::writers::Writers;
use crate::dictionary::overview::{self, OverviewRow};
use crate::error::CommandError;
use crate::sql::ModuleSchema;

const REDRAW: Duration = Duration::from_millis(500);
const BLOCK: Duration = Duration::from_secs(3);

/// Everything that is seen and looked after during the show.
pub(super) struct Show<'a> {
    pub(super) output: &'a Output,
    pub(super) interrupt: &'a Interrupt,
    pub(super) schema: &'a ModuleSchema,
    pub(super) connection: &'a mut PgConnection,
    pub(super) daemon: &'a mut Daemon,
    pub(super) writers: &'a mut Writers,
    /// What is to be said above the table on a terminal; elsewhere it has been printed.
    pub(super) heading: Vec<String>,
    /// How long it lasts, unless somebody ends it.
    pub(super) length: Option<Duration>,
}

/// What is on one screen.
struct Picture {
    rows: Vec<OverviewRow>,
    refreshes: i64,
    failed: i64,
}

impl Show<'_> {
    /// Shows until time is up or the end is asked for; an error if the daemon or a writer ends before.
    pub(super) async fn run(mut self) -> Result<(), CommandError> {
        let started = Instant::now();
        let length = self.length;
        let end = async {
            match length {
                Some(length) => tokio::time::sleep(length).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        let screen = self.output.is_terminal().then(|| self.output.open_screen());
        let mut beat = interval(if screen.is_some() { REDRAW } else { BLOCK });
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if screen.is_none() {
            // the first one comes at once, when there is nothing to see yet
            beat.tick().await;
        }
        loop {
            tokio::select! {
                biased;
                () = self.interrupt.asked() => break,
                () = &mut end => break,
                error = self.daemon.ended() => return Err(error),
                error = self.writers.failed() => return Err(error),
                _ = beat.tick() => {}
            }
            let picture = self.look().await?;
            match &screen {
                Some(screen) => screen.draw(&self.screenful(&picture, started.elapsed())),
                None => self.output.say(&self.block(&picture, started.elapsed())),
            }
        }
        if screen.is_none() {
            let picture = self.look().await?;
            self.output.say(&self.block(&picture, started.elapsed()));
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<Picture, CommandError> {
        let rows = overview::all(self.connection, self.schema).await?;
        let (refreshes, failed) = overview::refresh_counts(self.connection, self.schema).await?;
        Ok(Picture {
            rows,
            refreshes,
            failed,
        })
    }

    fn screenful(&self, picture: &Picture, elapsed: Duration) -> Vec<String> {
        let ends = match self.length {
            Some(length) => format!(
                "{} s of {} s, then a summary; Ctrl-C ends it now",
                elapsed.as_secs(),
                length.as_secs()
            ),
            None => format!("{} s; Ctrl-C ends it with a summary", elapsed.as_secs()),
        };
        // with all materialized views and two reasons in the 24 lines of a small terminal
        let mut lines = vec![format!("mvrefreshd demo: {ends}")];
        lines.extend(self.heading.iter().cloned());
        lines.push(String::new());
        lines.push(self.counts(picture, elapsed));
        let colour = self.output.has_colour();
        let width = self.output.width();
        lines.extend(table::lines(&picture.rows, width, colour));
        lines.extend(table::reasons(&picture.rows, columns(width)));
        let errors = errors(&picture.rows, self.output.width());
        if !errors.is_empty() {
            lines.push(String::new());
            lines.extend(errors);
        }
        lines
    }

    fn block(&self, picture: &Picture, elapsed: Duration) -> String {
        let mut lines = vec![
            String::new(),
            format!("{} s: {}", elapsed.as_secs(), self.counts(picture, elapsed)),
        ];
        lines.extend(table::lines(&picture.rows, None, false));
        lines.extend(table::reasons(&picture.rows, columns(None)));
        lines.extend(errors(&picture.rows, None));
        lines.join("\n")
    }

    fn counts(&self, picture: &Picture, elapsed: Duration) -> String {
        let written = self.writers.written();
        let rate = f64_of(written.transactions) / elapsed.as_secs_f64().max(0.001);
        format!(
            "{} written ({rate:.0}/s), {}, {} failed",
            numbers::counted(written.transactions, "transaction", "transactions"),
            numbers::counted(picture.refreshes, "refresh", "refreshes"),
            picture.failed
        )
    }
}

/// How wide lines may be.
fn columns(width: Option<u16>) -> usize {
    width.unwrap_or(80).into()
}

/// What failing views say, in lines of the terminal's width.
fn errors(rows: &[OverviewRow], width: Option<u16>) -> Vec<String> {
    rows.iter()
        .filter(|row| row.failures > 0)
        .filter_map(|row| {
            let error = row.last_error.as_deref()?;
            if error.contains(&row.mv_name) {
                Some(error.to_owned())
            } else {
                Some(format!("{}: {error}", row.mv_name))
            }
        })
        .flat_map(|text| numbers::folded(&text, columns(width)))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
pub(super) fn f64_of(count: u64) -> f64 {
    count as f64
}
