//! The tables of TPC-H with their data, and its two refresh streams.

use fastrand::Rng;
use sqlx::{AssertSqlSafe, PgConnection};
use tpchgen::distribution::Distributions;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen::text::TextPool;

/// Bytes of the text that comments are cut from; the specification takes 300 MB, which takes long to make.
const TEXT: i32 = 4 << 20;

const TABLES: &str = "
    CREATE TABLE region (r_regionkey int PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152) NOT NULL);
    CREATE TABLE nation (n_nationkey int PRIMARY KEY, n_name char(25) NOT NULL, n_regionkey int NOT NULL, n_comment varchar(152) NOT NULL);
    CREATE TABLE supplier (s_suppkey int PRIMARY KEY, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL, s_nationkey int NOT NULL,
        s_phone char(15) NOT NULL, s_acctbal numeric(15,2) NOT NULL, s_comment varchar(101) NOT NULL);
    CREATE TABLE customer (c_custkey int PRIMARY KEY, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL, c_nationkey int NOT NULL,
        c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL, c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL);
    CREATE TABLE part (p_partkey int PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL, p_brand char(10) NOT NULL,
        p_type varchar(25) NOT NULL, p_size int NOT NULL, p_container char(10) NOT NULL, p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL);
    CREATE TABLE partsupp (ps_partkey int NOT NULL, ps_suppkey int NOT NULL, ps_availqty int NOT NULL, ps_supplycost numeric(15,2) NOT NULL,
        ps_comment varchar(199) NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey));
    CREATE TABLE orders (o_orderkey bigint PRIMARY KEY, o_custkey int NOT NULL, o_orderstatus char(1) NOT NULL, o_totalprice numeric(15,2) NOT NULL,
        o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL, o_clerk char(15) NOT NULL, o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL);
    CREATE TABLE lineitem (l_orderkey bigint NOT NULL, l_partkey int NOT NULL, l_suppkey int NOT NULL, l_linenumber int NOT NULL,
        l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL,
        l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
        l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL, PRIMARY KEY (l_orderkey, l_linenumber))";

const KEYS: &str = "
    ALTER TABLE nation ADD FOREIGN KEY (n_regionkey) REFERENCES region;
    ALTER TABLE supplier ADD FOREIGN KEY (s_nationkey) REFERENCES nation;
    ALTER TABLE customer ADD FOREIGN KEY (c_nationkey) REFERENCES nation;
    ALTER TABLE partsupp ADD FOREIGN KEY (ps_partkey) REFERENCES part, ADD FOREIGN KEY (ps_suppkey) REFERENCES supplier;
    ALTER TABLE orders ADD FOREIGN KEY (o_custkey) REFERENCES customer;
    ALTER TABLE lineitem ADD FOREIGN KEY (l_orderkey) REFERENCES orders, ADD FOREIGN KEY (l_partkey, l_suppkey) REFERENCES partsupp;
    CREATE INDEX ON nation (n_regionkey);
    CREATE INDEX ON supplier (s_nationkey);
    CREATE INDEX ON customer (c_nationkey);
    CREATE INDEX ON partsupp (ps_suppkey);
    CREATE INDEX ON orders (o_custkey);
    CREATE INDEX ON lineitem (l_partkey, l_suppkey);
    CREATE INDEX ON lineitem (l_suppkey)";

/// Of 32 order keys the first eight are used: a stream takes the next eight.
const KEYS_USED: i64 = 8;

/// Makes and fills the tables.
pub(crate) async fn load(connection: &mut PgConnection, scale: f64) {
    run(connection, TABLES).await;
    let distributions = Distributions::static_default();
    let text = TextPool::new(TEXT, distributions);
    macro_rules! fill {
        ($table:literal, $generator:ident $(, $scale:expr)*) => {
            let rows =
                $generator::new_with_distributions_and_text_pool($($scale,)* distributions, &text);
            let rows = rows.iter().map(|row| row.to_string());
            copy(connection, $table, rows).await;
        };
    }
    fill!("region", RegionGenerator);
    fill!("nation", NationGenerator);
    fill!("supplier", SupplierGenerator, scale, 1, 1);
    fill!("customer", CustomerGenerator, scale, 1, 1);
    fill!("part", PartGenerator, scale, 1, 1);
    let supplies = PartSuppGenerator::new_with_text_pool(scale, 1, 1, &text);
    let supplies = supplies.iter().map(|row| row.to_string());
    copy(connection, "partsupp", supplies).await;
    fill!("orders", OrderGenerator, scale, 1, 1);
    fill!("lineitem", LineItemGenerator, scale, 1, 1);
    run(connection, KEYS).await;
    run(connection, "ANALYZE").await;
}

/// RF1: so many new orders with their lines, under keys that were not used. They are like orders that there are; `stream`
/// (from 1 on) says under which keys. Three streams of one size have no key in common, then keys come again.
pub(crate) async fn insert_orders(connection: &mut PgConnection, rng: &mut Rng, count: u32) {
    let picked = pick(connection, rng, count).await;
    let of = "unnest($1::bigint[]) AS picked (key)";
    // the first of the three unused keys that is free
    let shift = format!(
        "CREATE TEMP TABLE IF NOT EXISTS new_orders (old_key bigint PRIMARY KEY, new_key bigint);
         TRUNCATE new_orders;
         INSERT INTO new_orders
         SELECT key, (SELECT min(free) FROM generate_series(key + {KEYS_USED}, key + {}, {KEYS_USED}) AS free
                      WHERE NOT EXISTS (SELECT FROM orders WHERE o_orderkey = free))
         FROM {};
         DELETE FROM new_orders WHERE new_key IS NULL;
         BEGIN;
         INSERT INTO orders SELECT new_key, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority, o_comment
         FROM new_orders JOIN orders ON o_orderkey = old_key;
         INSERT INTO lineitem SELECT new_key, l_partkey, l_suppkey, l_linenumber, l_quantity, l_extendedprice, l_discount, l_tax, l_returnflag, l_linestatus,
             l_shipdate, l_commitdate, l_receiptdate, l_shipinstruct, l_shipmode, l_comment
         FROM new_orders JOIN lineitem ON l_orderkey = old_key;
         COMMIT",
        3 * KEYS_USED,
        of.replace("$1", &format!("'{{{picked}}}'")),
    );
    run(connection, &shift).await;
}

/// RF2: so many orders are deleted with their lines.
pub(crate) async fn delete_orders(connection: &mut PgConnection, rng: &mut Rng, count: u32) {
    let picked = pick(connection, rng, count).await;
    run(
        connection,
        &format!(
            "BEGIN;
             DELETE FROM lineitem WHERE l_orderkey = ANY ('{{{picked}}}'::bigint[]);
             DELETE FROM orders WHERE o_orderkey = ANY ('{{{picked}}}'::bigint[]);
             COMMIT"
        ),
    )
    .await;
}

/// Keys of orders that there are.
async fn pick(connection: &mut PgConnection, rng: &mut Rng, count: u32) -> String {
    let mut keys: Vec<i64> =
        sqlx::query_scalar("SELECT o_orderkey FROM orders WHERE o_orderkey % 32 < 8 ORDER BY 1")
            .fetch_all(connection)
            .await
            .unwrap();
    rng.shuffle(&mut keys);
    keys.truncate(count as usize);
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    keys.join(",")
}

async fn copy(connection: &mut PgConnection, table: &str, rows: impl Iterator<Item = String>) {
    let statement =
        format!("COPY {table} FROM STDIN WITH (FORMAT csv, DELIMITER '|', QUOTE E'\\b')");
    let mut copy = connection.copy_in_raw(&statement).await.unwrap();
    let mut text = String::new();
    for row in rows {
        // every row ends in a delimiter
        text.push_str(row.trim_end_matches('|'));
        text.push('\n');
        if text.len() > 1 << 20 {
            copy.send(std::mem::take(&mut text).into_bytes())
                .await
                .unwrap();
        }
    }
    copy.send(text.into_bytes()).await.unwrap();
    copy.finish().await.unwrap();
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}\n{error}"));
}
