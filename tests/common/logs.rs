//! What a materialized view log must be worth: contents at one snapshot + its net rows = contents at a later one.

use super::Session;

impl Session {
    /// Creates the log of a table; its `log_id`.
    pub(crate) async fn create_log(&mut self, table: &str) -> i32 {
        self.value(&format!(
            "SELECT mvrefresh.create_materialized_view_log($n${table}$n$)"
        ))
        .await
    }

    /// What is wrong with a log; `NULL` for nothing.
    pub(crate) async fn log_problem(&mut self, log: i32) -> String {
        self.text(&format!("SELECT mvrefresh.log_problem({log})"))
            .await
    }

    /// Keeps the contents of a logged table, and the snapshot they are of.
    pub(crate) async fn remember(&mut self, log: i32) {
        let table = self.logged_table(log).await;
        self.run(&format!(
            "CREATE SCHEMA IF NOT EXISTS kept;
             CREATE TABLE IF NOT EXISTS kept.snapshots (log_id integer PRIMARY KEY, snapshot pg_snapshot);
             DROP TABLE IF EXISTS kept.rows_{log}"
        ))
        .await;
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
        self.run(&format!(
            "CREATE TABLE kept.rows_{log} AS SELECT * FROM {table};
             INSERT INTO kept.snapshots VALUES ({log}, pg_current_snapshot())
                 ON CONFLICT (log_id) DO UPDATE SET snapshot = excluded.snapshot;
             COMMIT"
        ))
        .await;
    }

    /// Asserts, in one statement, that the kept rows and what is pending since then come to the present rows, as bags.
    pub(crate) async fn assert_log_is_exact(&mut self, log: i32, after: &str) {
        let table = self.logged_table(log).await;
        let list = |column: &str| {
            format!(
                "(SELECT string_agg({column}, ', ' ORDER BY n) FROM mvrefresh.materialized_view_logs,
                  unnest(logged_attnums, logged_columns) WITH ORDINALITY u (attnum, name, n) WHERE log_id = {log})"
            )
        };
        let names = self.text(&list("quote_ident(name)")).await;
        let stored = self.text(&list("'c' || attnum")).await;
        let wrong: Vec<String> = self
            .values(&format!(
                "SELECT image || ' ' || sum(weight) FROM (
                     SELECT ROW({names})::text AS image, 1 AS weight FROM kept.rows_{log}
                     UNION ALL SELECT ROW({names})::text, -1 FROM {table}
                     UNION ALL SELECT ROW({stored})::text, weight
                     FROM mvrefresh.log${log}, kept.snapshots s
                     WHERE s.log_id = {log} AND weight <> 0 AND xid >= pg_snapshot_xmin(s.snapshot)
                       AND NOT pg_visible_in_snapshot(xid, s.snapshot)) AS images
                 GROUP BY image HAVING sum(weight) <> 0"
            ))
            .await;
        assert_eq!(wrong, [""; 0], "{table} after: {after}");
    }

    /// Whether a log has a marker since the kept contents.
    pub(crate) async fn is_marked(&mut self, log: i32) -> bool {
        self.value(&format!(
            "SELECT (mvrefresh.pending_in_log({log}, snapshot)).is_marked FROM kept.snapshots WHERE log_id = {log}"
        ))
        .await
    }

    /// How many rows a log has.
    pub(crate) async fn log_rows(&mut self, log: i32) -> i64 {
        self.value(&format!("SELECT count(*) FROM mvrefresh.log${log}"))
            .await
    }

    /// What `repair_logs` says it did.
    pub(crate) async fn repair_logs(&mut self) -> Vec<String> {
        self.values("SELECT outcome FROM mvrefresh.repair_logs()")
            .await
    }

    async fn logged_table(&mut self, log: i32) -> String {
        self.text(&format!(
            "SELECT mvrefresh.qualified_name(base_table) FROM mvrefresh.materialized_view_logs WHERE log_id = {log}"
        ))
        .await
    }
}
