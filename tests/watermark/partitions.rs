//! Partitioned base tables.

use crate::Shop;

const PARTITIONED: &str = "
    CREATE TABLE sales (id integer NOT NULL, region text, amount numeric(8,2), PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE sales_north PARTITION OF sales FOR VALUES IN ('north');
    CREATE TABLE sales_south (amount numeric(8,2), dropped integer, region text NOT NULL, id integer NOT NULL);
    ALTER TABLE sales_south DROP dropped;
    ALTER TABLE sales ATTACH PARTITION sales_south FOR VALUES IN ('south');
    CREATE TABLE sales_rest PARTITION OF sales DEFAULT PARTITION BY RANGE (id);
    CREATE TABLE sales_rest_1 PARTITION OF sales_rest FOR VALUES FROM (0) TO (100);
    CREATE TABLE sales_rest_2 PARTITION OF sales_rest FOR VALUES FROM (100) TO (1000);
    CREATE TABLE names (region text, title text);
    INSERT INTO names VALUES ('north', 'N'), ('south', 'S'), ('east', 'E');
    INSERT INTO sales SELECT i, (ARRAY['north', 'south', 'east'])[i % 3 + 1], i FROM generate_series(1, 200) i;";

const OVER_PARTITIONS: &[(&str, &str)] = &[
    (
        "titled",
        "SELECT s.id, n.title, s.amount FROM sales s JOIN names n USING (region)",
    ),
    (
        "by_region",
        "SELECT region, count(*) AS n, sum(amount) AS total, min(amount) AS least FROM sales GROUP BY region",
    ),
];

#[tokio::test]
async fn changes_of_partitions_are_refreshed_fast_wherever_the_rows_go() {
    let mut shop = Shop::empty(PARTITIONED).await;
    shop.create(OVER_PARTITIONS).await;
    for statement in [
        "INSERT INTO sales VALUES (300, 'north', 1), (301, 'south', 2), (302, 'west', 3)",
        "INSERT INTO sales_north VALUES (303, 'north', 1)",
        "INSERT INTO sales_rest_2 VALUES (304, 'east', 4)",
        "UPDATE sales SET region = 'south' WHERE region = 'north' AND id < 20",
        "UPDATE sales SET region = CASE region WHEN 'south' THEN 'east' WHEN 'east' THEN 'north' ELSE 'south' END",
        "UPDATE sales_rest SET id = id + 500 WHERE id < 50",
        "UPDATE sales_south SET amount = amount + 1",
        "DELETE FROM sales_rest_1 WHERE id > 60",
        "DELETE FROM sales WHERE id % 7 = 0",
        "COPY sales FROM PROGRAM 'printf \"400\\tnorth\\t1.5\\n401\\teast\\t2.5\\n\"'",
        "BEGIN; SAVEPOINT a; UPDATE sales SET region = 'north'; ROLLBACK TO a; UPDATE sales SET region = 'north' WHERE region = 'west'; COMMIT",
    ] {
        shop.sql.run(statement).await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.assert_fast_after(name, statement).await;
        }
    }
    for truncate in ["TRUNCATE sales_rest_1", "TRUNCATE sales"] {
        shop.sql.run(truncate).await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.assert_complete_as(name, "truncated").await;
        }
    }
}

#[tokio::test]
async fn partitions_attached_and_detached_are_never_missed() {
    let mut shop = Shop::empty(PARTITIONED).await;
    shop.create(OVER_PARTITIONS).await;
    for (ddl, change) in [
        (
            "CREATE TABLE sales_west (LIKE sales); INSERT INTO sales_west VALUES (500, 'west', 5); ALTER TABLE sales ATTACH PARTITION sales_west FOR VALUES IN ('west')",
            "INSERT INTO sales_west VALUES (501, 'west', 6); UPDATE sales SET amount = 7 WHERE id = 500",
        ),
        (
            "CREATE TABLE sales_up PARTITION OF sales FOR VALUES IN ('up')",
            "INSERT INTO sales VALUES (510, 'up', 6); UPDATE sales_up SET id = 511",
        ),
        (
            "ALTER TABLE sales DETACH PARTITION sales_south; INSERT INTO sales_south (id, region, amount) VALUES (600, 'south', 1)",
            "DELETE FROM sales_south; UPDATE sales SET amount = amount + 1 WHERE id < 50",
        ),
        (
            "ALTER TABLE sales ATTACH PARTITION sales_south FOR VALUES IN ('south')",
            "INSERT INTO sales VALUES (601, 'south', 2); INSERT INTO sales_south (id, region, amount) VALUES (602, 'south', 3)",
        ),
        (
            "DROP TABLE sales_north",
            "INSERT INTO sales VALUES (603, 'south', 2)",
        ),
    ] {
        // before, during and after the DDL nothing is missed, whether upkeep comes in time or not
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 = 1")
            .await;
        shop.sql.run(ddl).await;
        shop.sql.run(change).await;
        for (name, _) in OVER_PARTITIONS {
            let refreshed = shop.sql.refresh_fast(name).await;
            assert_eq!(
                refreshed.method, "complete",
                "{name} after {ddl}: {refreshed:?}"
            );
            shop.sql.assert_same(name, ddl).await;
        }
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 = 2")
            .await;
        shop.upkeep.run().await;
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 = 3")
            .await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.refresh_fast(name).await;
            shop.sql.assert_same(name, "upkeep").await;
        }
        shop.sql
            .run("UPDATE sales SET amount = amount + 1 WHERE id % 10 IN (3, 4)")
            .await;
        for (name, _) in OVER_PARTITIONS {
            shop.sql.assert_fast_after(name, ddl).await;
        }
    }
}
