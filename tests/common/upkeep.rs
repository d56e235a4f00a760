//! Everything looked after as the daemon does it, refreshed by SQL, and compared to the letter.

use mvrefreshd::dictionary::catalog::{self, ServerFacts};
use mvrefreshd::dictionary::{logs, programs};
use mvrefreshd::refresh::compile::{COMPILER, Compiled, compile};
use mvrefreshd::sql::ModuleSchema;
use sqlx::Row;

use super::{Database, Refreshed, Session};

/// What the daemon does beside refreshing, when a test says so.
pub(crate) struct Upkeep {
    session: Session,
    schema: ModuleSchema,
    facts: ServerFacts,
}

/// How long upkeep waits for a base table.
const LOCK_TIMEOUT_MS: i32 = 100;

impl Upkeep {
    /// On a connection of its own.
    pub(crate) async fn of(database: &Database) -> Self {
        let mut session = database.admin().await;
        session.run("SET search_path TO pg_catalog, pg_temp").await;
        let facts = catalog::server_facts(&mut session.connection)
            .await
            .unwrap();
        Self {
            session,
            schema: database.schema.clone(),
            facts,
        }
    }

    /// Learns of types, functions and operators made since.
    pub(crate) async fn learn(&mut self) {
        self.facts = catalog::server_facts(&mut self.session.connection)
            .await
            .unwrap();
    }

    /// Repairs logs and compiles what is to be compiled; what became of each view, by name.
    pub(crate) async fn run(&mut self) -> Vec<(String, Compiled)> {
        let connection = &mut self.session.connection;
        logs::repair(connection, &self.schema, LOCK_TIMEOUT_MS)
            .await
            .unwrap();
        let mut outcomes = Vec::new();
        for view in programs::to_compile(connection, &self.schema, COMPILER)
            .await
            .unwrap()
        {
            let compiled = compile(
                connection,
                &self.schema,
                &self.facts,
                view.mv_id,
                LOCK_TIMEOUT_MS,
            )
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", view.mv_name));
            outcomes.push((view.mv_name, compiled));
        }
        outcomes
    }
}

impl Session {
    /// Refreshes fast if that can be, in the transaction that is open, if any.
    pub(crate) async fn refresh_fast(&mut self, name: &str) -> Refreshed {
        let sql = format!(
            "SELECT status, coalesce(method, ''), coalesce(reason, '') FROM mvrefresh.refresh_materialized_view($n${name}$n$, 'fast')"
        );
        let rows = self.rows(&sql).await;
        assert_eq!(rows.len(), 1, "{name}");
        Refreshed {
            status: rows[0].get(0),
            method: rows[0].get(1),
            reason: rows[0].get(2),
        }
    }

    /// Refreshes, and asserts that a fast refresh did everything, or that there was nothing to do, and that it is exact.
    pub(crate) async fn assert_fast_after(&mut self, name: &str, after: &str) {
        let refreshed = self.refresh_fast(name).await;
        assert!(
            refreshed.method == "fast" || refreshed.status == "unchanged",
            "{name} after {after}: {refreshed:?}"
        );
        self.assert_same(name, after).await;
    }

    /// Refreshes, and asserts that it was completely, for a reason that contains this, and that it is exact.
    pub(crate) async fn assert_complete_as(&mut self, name: &str, reason: &str) {
        let refreshed = self.refresh_fast(name).await;
        assert!(
            refreshed.method == "complete" && refreshed.reason.contains(reason),
            "{name}: {refreshed:?}, not {reason:?}"
        );
        self.assert_same(name, reason).await;
    }

    /// Asserts that a materialized view holds exactly, to the letter, what its query gives.
    pub(crate) async fn assert_same(&mut self, name: &str, after: &str) {
        let difference = self.difference(name).await;
        assert_eq!(difference, [""; 0], "{name} differs after {after}");
    }

    /// Rows that are missing or unexpected in a materialized view, as text.
    pub(crate) async fn difference(&mut self, name: &str) -> Vec<String> {
        let rows = self
            .rows(&format!(
                "SELECT mvrefresh.qualified_name(mv_relation), mvrefresh.qualified_name(v_relation)
                 FROM mvrefresh.materialized_view_settings WHERE mv_relation = $n${name}$n$::regclass"
            ))
            .await;
        let (table, view): (String, String) = (rows[0].get(0), rows[0].get(1));
        self.values(&format!(
            "SELECT 'missing ' || r::text FROM {view} AS r EXCEPT ALL SELECT 'missing ' || r::text FROM {table} AS r
             UNION ALL (SELECT 'unexpected ' || r::text FROM {table} AS r EXCEPT ALL SELECT 'unexpected ' || r::text FROM {view} AS r)"
        ))
        .await
    }
}
