//! The table "What is fast, and what is not" of the documentation, held against what is done: see `claims.sql`.

use mvrefreshd::refresh::compile::Compiled;

use crate::common::{Database, Upkeep};

const CLAIMS: &str = include_str!("claims.sql");
const DOCUMENTATION: &str = include_str!("../../docs/fast-refresh.md");

const TABLES: &str = "
    CREATE SCHEMA shop;
    CREATE TYPE shop.state AS ENUM ('open', 'paid');
    CREATE DOMAIN shop.short AS varchar(9) CHECK (value <> '');
    CREATE TABLE shop.bills (bill_id integer PRIMARY KEY, state shop.state, mark shop.short, marks shop.short[],
                             source inet, place point, flags bit(3), area polygon, spans int4multirange);
    INSERT INTO shop.bills VALUES (1, 'open', 'x', '{x,y}', '10.0.0.1', '(1,2)', B'101', '((0,0),(1,1),(2,0))', '{[1,2)}'),
                                  (2, 'paid', 'x', '{}', '10.0.0.0/8', '(0,0)', B'000', NULL, '{}'), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    CREATE TABLE shop.regions (region text PRIMARY KEY, rank integer NOT NULL);
    CREATE TABLE shop.customers (customer_id integer PRIMARY KEY, name text NOT NULL, region text);
    CREATE TABLE shop.orders (order_id integer PRIMARY KEY, customer_id integer NOT NULL, ordered_on date, amount numeric(10,2) NOT NULL,
                              note text, discount float8, took interval, is_paid boolean);
    CREATE TABLE shop.ancestors (id integer);
    CREATE TABLE shop.heirs () INHERITS (shop.ancestors);
    CREATE FUNCTION shop.append(text, text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT coalesce($1, '') || coalesce($2, '-') $$;
    CREATE AGGREGATE shop.joined(text) (SFUNC = shop.append, STYPE = text);
    INSERT INTO shop.regions VALUES ('north', 1), ('south', 2);
    INSERT INTO shop.customers VALUES (1, 'ann', 'north'), (2, 'bob', 'south'), (3, 'cid', NULL);
    INSERT INTO shop.orders VALUES (1, 1, '2024-01-01', 10, 'a', 0.1, '1 hour', true), (2, 1, '2024-01-02', 20, 'b', 0.2, '1 day', false),
                                   (3, 2, NULL, 5, NULL, NULL, NULL, NULL);";

const CHANGES: &[&str] = &[
    "INSERT INTO shop.orders VALUES (4, 2, '2024-02-01', 20, 'a', 0.3, '1 min', true), (5, 7, '2024-02-01', 1, 'ann', 0.7, NULL, true)",
    "UPDATE shop.orders SET amount = amount + 1, note = 'c', customer_id = 3 WHERE order_id IN (2, 3)",
    "DELETE FROM shop.orders WHERE order_id = 1; UPDATE shop.customers SET region = 'north', name = 'b' WHERE customer_id = 2",
    "UPDATE shop.bills SET state = 'paid', mark = 'y' WHERE bill_id = 1; INSERT INTO shop.bills VALUES (4, 'open', 'y', '{z}', '::1', '(-0,1)', B'100', NULL, '{[1,2),[5,6)}')",
    "UPDATE shop.bills SET source = '10.0.0.2', place = '(-0,0)', flags = B'111', spans = '{[3,4)}' WHERE bill_id = 2; DELETE FROM shop.bills WHERE bill_id = 3",
    "INSERT INTO shop.regions VALUES ('east', 1); DELETE FROM shop.customers WHERE customer_id = 3",
];

/// A row of the table with its queries, each with the reason if it is refreshed completely.
#[derive(Debug, Default)]
struct Claim {
    row: String,
    queries: Vec<(String, Option<String>)>,
}

fn claims() -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut reason = None;
    for line in CLAIMS.lines() {
        if let Some(row) = line.strip_prefix("-- | ") {
            claims.push(Claim {
                row: row.to_owned(),
                ..Claim::default()
            });
        } else if let Some(because) = line.strip_prefix("-- because ") {
            reason = Some(because.to_owned());
        } else if let Some(query) = line.strip_suffix(';') {
            let claim = claims.last_mut().unwrap();
            claim.queries.push((query.to_owned(), reason.take()));
        }
    }
    claims
}

/// The rows of the table in the documentation: what they are about, and whether they say fast.
fn documented() -> Vec<(String, bool)> {
    let (_, table) = DOCUMENTATION
        .split_once("| query | how it is refreshed |\n| --- | --- |\n")
        .unwrap();
    table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let (query, how) = line.trim_matches(['|', ' ']).split_once(" | ").unwrap();
            assert!(how.starts_with("fast") || how == "completely", "{line}");
            (query.to_owned(), how != "completely")
        })
        .collect()
}

#[tokio::test]
async fn each_row_of_the_documented_table_is_as_it_says() {
    let claims = claims();
    let rows: Vec<(String, bool)> = claims
        .iter()
        .map(|claim| {
            let is_fast = claim.queries.iter().all(|(_, reason)| reason.is_none());
            assert!(!claim.queries.is_empty(), "no query for: {}", claim.row);
            (claim.row.clone(), is_fast)
        })
        .collect();
    assert_eq!(documented(), rows);
    let database = Database::installed().await;
    let mut session = database.admin().await;
    session.run(TABLES).await;
    session.run("SET search_path TO shop").await;
    let mut upkeep = Upkeep::of(&database).await;
    let (mut fast, mut wrong) = (Vec::new(), Vec::new());
    for (number, (query, reason)) in claims.iter().flat_map(|claim| &claim.queries).enumerate() {
        let name = format!("mv_{number}");
        let quoted = query.replace('\'', "''");
        session
            .run(&format!(
                "SELECT mvrefresh.create_materialized_view('shop.{name}', query => '{quoted}')"
            ))
            .await;
        let outcomes = upkeep.run().await;
        let (_, compiled) = outcomes
            .into_iter()
            .find(|(known, _)| known.ends_with(&name))
            .unwrap_or_else(|| panic!("not compiled: {query}"));
        match (compiled, reason) {
            (Compiled::Fast, None) => fast.push((name, query)),
            (Compiled::Refused(refusal), Some(reason)) if refusal.to_string() == *reason => {}
            (compiled, _) => wrong.push(format!("{compiled:?}: {query}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, _) in &fast {
        // the first one is complete: the program has to begin somewhere
        session.refresh_fast(name).await;
    }
    for change in CHANGES {
        session.run(change).await;
        for (name, query) in &fast {
            session
                .assert_fast_after(name, &format!("{change}\n{query}"))
                .await;
        }
    }
}
