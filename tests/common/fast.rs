//! Materialized views that are refreshed fast: compiled as the daemon does it, refreshed, and told how that went.

use mvrefreshd::dictionary::catalog::server_facts;
use mvrefreshd::refresh::compile::{Compiled, compile};
use mvrefreshd::sql::ModuleSchema;
use sqlx::Row;

use super::Session;

/// How a refresh went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refreshed {
    /// `refreshed` or `unchanged`.
    pub(crate) status: String,
    /// `fast` or `complete`; `none` where unchanged.
    pub(crate) method: String,
    /// Why.
    pub(crate) reason: String,
}

impl Session {
    /// The key of a materialized view.
    pub(crate) async fn view_id(&mut self, name: &str) -> i32 {
        self.value(&format!(
            "SELECT mv_id FROM mvrefresh.materialized_views WHERE format('%I.%I', mv_schema, mv_name) = $n${name}$n$"
        ))
        .await
    }

    /// Compiles a materialized view as the daemon does; the session must be one of the module's role.
    pub(crate) async fn compile(&mut self, name: &str) -> Compiled {
        let id = self.view_id(name).await;
        let facts = server_facts(&mut self.connection).await.unwrap();
        let schema = ModuleSchema::new("mvrefresh");
        compile(&mut self.connection, &schema, &facts, id, 2000)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Compiles a materialized view, and refreshes it once so that the next refresh is a fast one.
    pub(crate) async fn make_fast(&mut self, name: &str) {
        assert_eq!(self.compile(name).await, Compiled::Fast, "{name}");
        self.refresh(name, None).await;
    }

    /// Refreshes a materialized view with the module's rights, as part of the session's transaction if there is one.
    pub(crate) async fn refresh(&mut self, name: &str, method: Option<&str>) -> Refreshed {
        let id = self.view_id(name).await;
        let method = method.map_or_else(|| "NULL".to_owned(), |method| format!("'{method}'"));
        let rows = self
            .rows(&format!("SELECT status, coalesce(method, 'none') AS method, coalesce(reason, '') AS reason FROM mvrefresh.perform_refresh({id}, 'test', {method})"))
            .await;
        Refreshed {
            status: rows[0].get("status"),
            method: rows[0].get("method"),
            reason: rows[0].get("reason"),
        }
    }

    /// Asserts that a materialized view is refreshed fast, and right.
    pub(crate) async fn assert_fast(&mut self, name: &str) {
        let refreshed = self.refresh(name, Some("fast")).await;
        assert_eq!(refreshed.method, "fast", "{name}: {}", refreshed.reason);
        self.assert_exact(name).await;
    }

    /// Asserts that a materialized view is refreshed completely for a reason that contains this, and right.
    pub(crate) async fn assert_complete(&mut self, name: &str, reason: &str) {
        let refreshed = self.refresh(name, Some("fast")).await;
        assert_eq!(refreshed.method, "complete", "{name}: {}", refreshed.reason);
        assert!(
            refreshed.reason.contains(reason),
            "{name}: {}",
            refreshed.reason
        );
        self.assert_exact(name).await;
    }
}
