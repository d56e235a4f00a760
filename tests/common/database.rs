//! A server with the module in it, and sessions that say briefly what they do.

use std::time::Duration;

use mvrefreshd::dictionary::installation::{self, Installed};
use mvrefreshd::dictionary::refreshes::{self, Limits, Order, RefreshRow, Target};
use mvrefreshd::sql::ModuleSchema;
use sqlx::postgres::{PgConnection, PgDatabaseError, PgRow, Postgres};
use sqlx::{AssertSqlSafe, Decode, Row, Type};

use super::TestServer;

/// A server whose database has the module in schema `mvrefresh`.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) server: TestServer,
    pub(crate) schema: ModuleSchema,
}

impl Database {
    /// Installed by the superuser.
    pub(crate) async fn installed() -> Self {
        Self::installed_on(TestServer::start().await).await
    }

    /// Installed by the superuser of this server.
    pub(crate) async fn installed_on(server: TestServer) -> Self {
        let schema = ModuleSchema::new("mvrefresh");
        install_as(&server, "postgres", &schema).await;
        Self { server, schema }
    }

    /// As in production: the role `refresher`, no superuser, has installed it and is a member of the owners `alice` and
    /// `bob`, who each have a schema of their name. The role `mallory` may call the functions and has a schema, too; the
    /// daemon is a member of that role as well.
    pub(crate) async fn with_ordinary_roles() -> Self {
        Self::with_ordinary_roles_on(TestServer::start().await).await
    }

    /// As [`Self::with_ordinary_roles`], on this server.
    pub(crate) async fn with_ordinary_roles_on(server: TestServer) -> Self {
        let schema = ModuleSchema::new("mvrefresh");
        server.create_role("refresher", "").await;
        for owner in ["alice", "bob", "mallory"] {
            server.create_role(owner, "").await;
            server
                .execute(&format!(
                    "GRANT {owner} TO refresher; CREATE SCHEMA {owner} AUTHORIZATION {owner};"
                ))
                .await;
        }
        server
            .execute("GRANT CREATE ON DATABASE postgres TO refresher")
            .await;
        let installed = install_as(&server, "refresher", &schema).await;
        server
            .execute(&installed.for_administrator.join("\n"))
            .await;
        install_as(&server, "refresher", &schema).await;
        server
            .execute("GRANT mvrefresh_execute TO alice, bob, mallory")
            .await;
        Self { server, schema }
    }

    /// A session of a role.
    pub(crate) async fn session(&self, role: &str) -> Session {
        Session {
            connection: self.server.connect_as(role).await,
        }
    }

    /// A session of the superuser.
    pub(crate) async fn admin(&self) -> Session {
        self.session("postgres").await
    }
}

/// Installs the module as a role.
pub(crate) async fn install_as(
    server: &TestServer,
    role: &str,
    schema: &ModuleSchema,
) -> Installed {
    let mut connection = server.connect_as(role).await;
    installation::install(&mut connection, schema)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// An error of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: PgConnection,
}

impl Session {
    async fn attempt(&mut self, sql: &str) -> sqlx::Result<Vec<PgRow>> {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_all(&mut self.connection)
            .await
    }

    /// The rows of one or more statements.
    pub(crate) async fn rows(&mut self, sql: &str) -> Vec<PgRow> {
        self.attempt(sql)
            .await
            .unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
    }

    /// Runs statements.
    pub(crate) async fn run(&mut self, sql: &str) {
        self.rows(sql).await;
    }

    /// The first column of the only row.
    pub(crate) async fn value<T>(&mut self, sql: &str) -> T
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "rows of: {sql}");
        rows[0].get(0)
    }

    /// The first column of every row.
    pub(crate) async fn values<T>(&mut self, sql: &str) -> Vec<T>
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        self.rows(sql).await.iter().map(|row| row.get(0)).collect()
    }

    /// Any value as the server writes it; `NULL` for none.
    pub(crate) async fn text(&mut self, sql: &str) -> String {
        self.value::<Option<String>>(&format!("SELECT ({sql})::text"))
            .await
            .unwrap_or_else(|| "NULL".to_owned())
    }

    /// The error that statements end with.
    pub(crate) async fn failure(&mut self, sql: &str) -> Failure {
        let Err(error) = self.attempt(sql).await else {
            panic!("no error in: {sql}");
        };
        failure(&error)
    }

    /// Asserts that a materialized view holds exactly what its query returns.
    pub(crate) async fn assert_exact(&mut self, name: &str) {
        let sql = format!(
            "SELECT rows_missing + rows_unexpected FROM mvrefresh.verify_materialized_view($n${name}$n$)"
        );
        assert_eq!(
            self.value::<i64>(&sql).await,
            0,
            "{name} differs from its query"
        );
    }

    /// Refreshes as the daemon does.
    pub(crate) async fn refresh_as_daemon(&mut self, id: i32) -> Result<RefreshRow, Failure> {
        let seen = self
            .value(&format!(
                "SELECT last_refresh FROM mvrefresh.materialized_view_state WHERE mv_id = {id}"
            ))
            .await;
        let order = Order {
            target: Target::View { id, seen },
            trigger: "schedule",
            method: None,
            due_at: None,
            limits: Limits {
                silence_ms: 30_000,
                statement_ms: 0,
                lock_ms: 0,
            },
        };
        refreshes::perform(
            &mut self.connection,
            &ModuleSchema::new("mvrefresh"),
            &order,
        )
        .await
        .map(|rows| rows[0].clone())
        .map_err(|error| failure(&error))
    }

    /// Waits until a condition holds.
    pub(crate) async fn wait_until(&mut self, condition: &str) {
        let wait = async {
            while !self.value::<bool>(&format!("SELECT {condition}")).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap_or_else(|_| panic!("never true: {condition}"));
    }

    /// The server process of this session.
    pub(crate) async fn pid(&mut self) -> i32 {
        self.value("SELECT pg_backend_pid()").await
    }
}

fn failure(error: &sqlx::Error) -> Failure {
    let Some(error) = error.as_database_error() else {
        panic!("not an error of the server: {error}");
    };
    let error = error.downcast_ref::<PgDatabaseError>();
    Failure {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        hint: error.hint().unwrap_or_default().to_owned(),
    }
}
