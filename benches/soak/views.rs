//! Base tables and materialized views of the soak.

use sqlx::PgConnection;

use super::common::{execute, holds, until};

/// Pairs of base tables, each with thirty views.
pub(super) const SHOPS: u32 = 10;

/// About as many rows as the larger table of each pair has.
pub(super) const SALES: u32 = 2_000;

/// As many views of each shop are refreshed fast, and as many completely.
const HALF: u32 = 15;

fn tables(shop: u32) -> String {
    format!(
        "CREATE TABLE region{shop} (id integer PRIMARY KEY, name text NOT NULL, weight integer NOT NULL);
         INSERT INTO region{shop} SELECT i, 'region ' || i, i % 9 FROM generate_series(0, 19) i;
         CREATE TABLE sale{shop} (id integer PRIMARY KEY, region integer NOT NULL, amount bigint NOT NULL);
         INSERT INTO sale{shop} SELECT i, i % 20, i FROM generate_series(1, {SALES}) i;
         ANALYZE region{shop}, sale{shop};"
    )
}

fn query(shop: u32, number: u32) -> String {
    let part = number % 4;
    let (sale, region) = (format!("sale{shop}"), format!("region{shop}"));
    match number % 5 {
        0 => format!("SELECT id, region, amount FROM {sale} WHERE id % 4 = {part}"),
        1 => format!(
            "SELECT region, count(*) AS sales, sum(amount) AS total FROM {sale} WHERE id % 4 <> {part} GROUP BY region"
        ),
        2 => format!(
            "SELECT s.id, r.name, s.amount * r.weight AS worth FROM {sale} s JOIN {region} r ON r.id = s.region WHERE s.id % 4 = {part}"
        ),
        3 => format!(
            "SELECT r.id, r.name, min(s.amount) AS least, max(s.amount) AS most
             FROM {region} r LEFT JOIN {sale} s ON s.region = r.id AND s.id % 4 <> {part} GROUP BY r.id, r.name"
        ),
        _ => format!(
            "SELECT r.id, r.weight, avg(s.amount) AS mean FROM {region} r JOIN {sale} s ON s.region = r.id
             WHERE s.id % 4 <> {part} GROUP BY r.id, r.weight"
        ),
    }
}

/// Makes everything; filled by the daemons.
pub(super) async fn make(sql: &mut PgConnection) {
    for shop in 0..SHOPS {
        execute(sql, &tables(shop)).await;
        for number in 0..HALF {
            let query = query(shop, number);
            // rates without a common factor, so that the views are due at all times
            let (fast, complete) = (7 + number, 29 + 2 * number);
            let create = format!(
                "SELECT mvrefresh.create_materialized_view('fast{shop}_{number}', $q${query}$q$, {fast}, refresh_method => 'fast', with_data => false);
                 SELECT mvrefresh.create_materialized_view('complete{shop}_{number}', $q${query}$q$, {complete}, refresh_method => 'complete', with_data => false)"
            );
            execute(sql, &create).await;
        }
    }
}

/// Waits until the daemons have filled all, and compiled what is to be fast.
pub(super) async fn until_filled(sql: &mut PgConnection) {
    let fast = SHOPS * HALF;
    let filled = format!(
        "SELECT (SELECT count(*) = {} FROM mvrefresh.materialized_views WHERE status = 'ok')
            AND (SELECT count(*) = {fast} FROM mvrefresh.fast_programs WHERE body IS NOT NULL AND compiled_for IS NOT NULL)",
        2 * fast
    );
    while !holds(sql, &filled).await {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Those that differ from their queries after one more refresh of all, when nobody writes any more.
pub(super) async fn inexact(sql: &mut PgConnection) -> Vec<String> {
    execute(
        sql,
        "SELECT count(mvrefresh.request_refresh(mv_name)) FROM mvrefresh.materialized_views",
    )
    .await;
    until(
        sql,
        "SELECT bool_and(last_refresh > requested_at AND status = 'ok') FROM mvrefresh.materialized_views",
    )
    .await;
    let differing = "SELECT mv_name FROM mvrefresh.materialized_views AS m,
            LATERAL mvrefresh.verify_materialized_view(m.mv_name) AS v
        WHERE v.rows_missing + v.rows_unexpected > 0";
    sqlx::query_scalar(differing).fetch_all(sql).await.unwrap()
}
