//! `demo`: the real daemon at work on a scratch database of its own, a small shop under a stream of writes.

mod daemon;
mod interrupt;
mod live;
mod numbers;
mod output;
mod server;
mod shop;
mod summary;
mod table;
mod views;
mod writers;

use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use self::daemon::Daemon;
use self::interrupt::Interrupt;
use self::live::Show;
use self::output::Output;
use self::server::Server;
use self::shop::Size;
use self::summary::Verdict;
use self::views::EXAMPLES;
use self::writers::Writers;
use crate::cli::Demo;
use crate::error::{CommandError, Exit};
use crate::sql::ModuleSchema;

/// The one whose refresh rate the newcomer is invited to change: its effect is easy to see.
const INVITING: &str = "price_list";

pub(super) async fn run(options: &Demo) -> Result<Exit, CommandError> {
    let interrupt = Interrupt::listen()?;
    let output = Output::new(interrupt.clone());
    let server = Server::start().await?;
    let stage = Stage {
        options,
        interrupt: &interrupt,
        output: &output,
        server: &server,
        schema: ModuleSchema::new("mvrefresh"),
    };
    let ended = tokio::select! {
        biased;
        () = interrupt.insisted() => {
            Err(CommandError::new(Exit::Negative, "ended at once; nothing was verified"))
        }
        ended = stage.perform() => ended,
    };
    let stopped = server.stop().await;
    // what went wrong first is what matters
    let exit = ended?;
    stopped?;
    Ok(exit)
}

/// What every act of the demo needs.
struct Stage<'a> {
    options: &'a Demo,
    interrupt: &'a Interrupt,
    output: &'a Output,
    server: &'a Server,
    schema: ModuleSchema,
}

impl Stage<'_> {
    async fn perform(&self) -> Result<Exit, CommandError> {
        let size = Size::scaled(self.options.scale);
        let (daemon, connection) = tokio::select! {
            biased;
            () = self.interrupt.asked() => {
                return Err(CommandError::new(Exit::Negative, "ended before there was anything to see"));
            }
            ready = self.set_up(size) => ready?,
        };
        self.show(daemon, connection, size).await
    }

    /// Everything up to the materialized views, under the eyes of the daemon.
    async fn set_up(&self, size: Size) -> Result<(Daemon, PgConnection), CommandError> {
        let cluster = self.server.cluster();
        self.output.say(&format!(
            "A private PostgreSQL {} in {}, removed at the end.",
            cluster.installation().version(),
            cluster.socket_dir().display()
        ));
        self.server.prepare(&self.schema).await?;
        let mut daemon = Daemon::start(&self.server.daemon_url(), cluster.socket_dir())?;
        if !self.output.is_terminal() {
            self.output.say(&self.heading(&daemon).join("\n"));
        }
        let mut connection = self.server.connect("demo").await?;
        tokio::select! {
            biased;
            error = daemon.ended() => return Err(error),
            filled = self.fill(&mut connection, size) => filled?,
        }
        Ok((daemon, connection))
    }

    async fn fill(&self, connection: &mut PgConnection, size: Size) -> Result<(), CommandError> {
        self.output.say(&format!(
            "Loading a shop of about {}.",
            numbers::counted(size.rows(), "row", "rows")
        ));
        let bar = self.output.progress(size.rows(), "rows");
        let loaded = shop::load(connection, size, |rows| bar.inc(rows)).await;
        bar.finish_and_clear();
        loaded?;
        self.output
            .say(&format!("Creating {} materialized views.", EXAMPLES.len()));
        for example in EXAMPLES {
            views::create(connection, &self.schema, example).await?;
        }
        Ok(())
    }

    /// How to look inside and what to try.
    fn heading(&self, daemon: &Daemon) -> Vec<String> {
        let page = daemon.page();
        let page = page.map(|address| format!("The status page: http://{address}/"));
        let mut lines = vec![
            "Look inside:".to_owned(),
            format!("  {}", self.server.psql_command()),
            "and try:".to_owned(),
            "  UPDATE mvrefresh.materialized_views".to_owned(),
            format!("  SET refresh_rate_in_sec = 5 WHERE mv_name = '{INVITING}';"),
        ];
        lines.extend(page);
        lines.push(format!("The daemon's log: {}", daemon.log_file().display()));
        lines
    }

    async fn show(
        &self,
        mut daemon: Daemon,
        mut connection: PgConnection,
        size: Size,
    ) -> Result<Exit, CommandError> {
        let mut writers = Writers::start(self.server, size).await?;
        let started = Instant::now();
        let heading = self.heading(&daemon);
        let show = Show {
            output: self.output,
            interrupt: self.interrupt,
            schema: &self.schema,
            connection: &mut connection,
            daemon: &mut daemon,
            writers: &mut writers,
            heading,
            length: self
                .options
                .seconds
                .map(|seconds| Duration::from_secs(seconds.into())),
        };
        show.run().await?;
        let writing = started.elapsed();
        let written = writers.stop().await?;
        self.output
            .say("\nThe writers have stopped. The daemon refreshes all once more, and stops.");
        let all_refreshed = tokio::select! {
            biased;
            error = daemon.ended() => return Err(error),
            refreshed = summary::refresh_all(&mut connection, &self.schema) => refreshed?,
        };
        let stopped = daemon.stop().await?;
        let (output, schema) = (self.output, &self.schema);
        let failed_refreshes =
            summary::figures(output, &mut connection, schema, written, writing).await?;
        let all_exact = summary::verify_all(output, &mut connection, schema).await?;
        connection.close().await?;
        let verdict = Verdict {
            all_refreshed,
            all_exact,
            failed_refreshes,
            daemon: stopped,
        };
        Ok(verdict.say(output))
    }
}
