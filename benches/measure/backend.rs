//! A session of a server under measurement.

use sqlx::{AssertSqlSafe, PgConnection};

use super::backend_time;
use crate::common::TestServer;

/// A session whose processor time can be read.
pub(crate) struct Backend {
    pub(crate) connection: PgConnection,
    pid: u32,
}

impl Backend {
    pub(crate) async fn open(server: &TestServer) -> Self {
        let mut connection = server.connect().await;
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        Self {
            connection,
            pid: u32::try_from(pid).unwrap(),
        }
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.connection)
            .await;
        done.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    }

    pub(crate) async fn text(&mut self, sql: &str) -> String {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut self.connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    /// Processor time so far, in milliseconds.
    pub(crate) fn cpu(&self) -> f64 {
        backend_time(self.pid).as_secs_f64() * 1000.0
    }
}
