//! A small database with the module installed.

use mvrefreshd::dictionary::installation;
use mvrefreshd::sql::ModuleSchema;
use serde_json::Value;
use sqlx::Connection;

use crate::common::{Finished, TestServer, run};

/// Exit codes as scripts know them.
pub(crate) const NEGATIVE: i32 = 1;
pub(crate) const USAGE: i32 = 64;
pub(crate) const DATA: i32 = 65;
pub(crate) const UNAVAILABLE: i32 = 69;
pub(crate) const PERMISSION: i32 = 77;
pub(crate) const CONFIGURATION: i32 = 78;

/// The query of most views here.
pub(crate) const TOTALS: &str =
    "SELECT customer_id, sum(price) AS total FROM orders GROUP BY customer_id";

/// A query that can't be refreshed fast, whatever the compiler learns.
pub(crate) const LOTTERY: &str = "SELECT order_id, random() AS r FROM orders";

/// A server with three orders of two customers, and the module.
pub(crate) struct Shop {
    pub(crate) server: TestServer,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::without_module().await.with_module().await
    }

    /// On a major version, if that is on this machine.
    pub(crate) async fn open_on(major: u32) -> Option<Self> {
        let server = TestServer::on_version(major).await?;
        Some(Self::stocked(server).await.with_module().await)
    }

    async fn with_module(self) -> Self {
        let mut connection = self.server.connect().await;
        installation::install(&mut connection, &ModuleSchema::new("mvrefresh"))
            .await
            .unwrap();
        connection.close().await.unwrap();
        self
    }

    pub(crate) async fn without_module() -> Self {
        Self::stocked(TestServer::start().await).await
    }

    async fn stocked(server: TestServer) -> Self {
        server
            .execute(
                "CREATE TABLE orders (order_id integer PRIMARY KEY, customer_id integer, price numeric);
                 INSERT INTO orders VALUES (1, 1, 10), (2, 1, 20), (3, 2, 5)",
            )
            .await;
        Self { server }
    }

    /// Runs a command as the superuser.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Finished {
        run(arguments, &[("DATABASE_URL", &self.server.url())]).await
    }

    pub(crate) async fn run_as(&self, role: &str, arguments: &[&str]) -> Finished {
        run(arguments, &[("DATABASE_URL", &self.server.url_as(role))]).await
    }

    /// Runs a command that must succeed; what it prints.
    #[track_caller]
    pub(crate) fn does(&self, arguments: &[&str]) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let finished = self.run(arguments).await;
            assert_eq!(finished.code, Some(0), "{caller}: {finished:?}");
            assert_eq!(finished.stderr, "", "{caller}");
            finished.stdout
        }
    }

    /// Runs a command that must fail with this exit code; its error output.
    #[track_caller]
    pub(crate) fn refuses(&self, code: i32, arguments: &[&str]) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let finished = self.run(arguments).await;
            assert_eq!(finished.code, Some(code), "{caller}: {finished:?}");
            assert!(
                finished.stderr.starts_with("mvrefreshd: "),
                "{caller}: {finished:?}"
            );
            finished.stderr
        }
    }

    /// The data that a successful command prints as JSON.
    #[track_caller]
    pub(crate) fn data(&self, arguments: &[&str]) -> impl Future<Output = Value> {
        let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let caller = std::panic::Location::caller();
        async move {
            let finished = self.run(&with_json).await;
            assert_eq!(finished.code, Some(0), "{caller}: {finished:?}");
            serde_json::from_str(&finished.stdout)
                .unwrap_or_else(|error| panic!("{caller}: {error} in {}", finished.stdout))
        }
    }

    pub(crate) async fn execute(&self, statements: &str) {
        self.server.execute(statements).await;
    }

    /// What a query returns, unaligned.
    pub(crate) fn sql(&self, query: &str) -> String {
        self.server.psql(query)
    }
}

/// Fails unless the text contains every part.
#[track_caller]
pub(crate) fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}
