//! Cases that once failed, made small.

use crate::case::Session;
use crate::common::TestServer;
use crate::generate::{COLUMNS, Table};
use crate::installed::Installed;
use crate::scenario::{Case, Form, Step, TableOf};
use crate::subject::Subject;
use crate::words::Names;

/// Tables with these columns beside `id`, queries, and what is done; a statement of the second session begins with `late:`.
struct Known {
    tables: &'static [(&'static str, &'static [&'static str])],
    query: &'static str,
    names: &'static [(&'static str, &'static str)],
    steps: &'static [&'static str],
    /// Whether `id` is the tables' primary key.
    has_keys: bool,
}

const KNOWN: &[Known] = &[
    // a joined table's changes of columns that decide which rows there are, of others, of both, and back again
    Known {
        tables: &[("t1", &["a", "s"]), ("t2", &["a", "s"]), ("t3", &["a"])],
        query: "SELECT r0.id, r0.s AS n, r1.s AS x, r1.id + r1.s AS z, r2.a AS y FROM t1 AS r0 JOIN t2 AS r1 ON r0.a = r1.id JOIN t3 AS r2 ON r0.s = r2.id WHERE r1.a > 1",
        names: &[],
        steps: &[
            "create",
            "INSERT INTO t1 VALUES (1, 1, 1), (2, 1, 2), (3, 2, 1), (4, 2, 9), (5, 3, 2), (6, NULL, 1)",
            "INSERT INTO t2 VALUES (1, 2, 10), (2, 3, 20), (3, 1, 30)",
            "INSERT INTO t3 VALUES (1, 100), (2, 200)",
            "refresh",
            "UPDATE t2 SET s = s + 1",
            "refresh",
            "UPDATE t2 SET s = NULL WHERE id = 1",
            "UPDATE t2 SET s = s + 1, a = 4 - a WHERE id > 1",
            "refresh",
            "UPDATE t2 SET id = id + 10; UPDATE t2 SET id = 14 - id",
            "refresh",
            "UPDATE t2 SET a = 0; UPDATE t2 SET a = 3 - id % 2, s = 7",
            "refresh",
            "DELETE FROM t2 WHERE id < 3; INSERT INTO t2 VALUES (1, 3, 5), (2, 2, 5)",
            "refresh",
            "DELETE FROM t3 WHERE id = 1",
            "refresh",
            "UPDATE t2 SET s = 1 WHERE id < 3",
            "refresh",
            "UPDATE t3 SET a = a + 1",
            "refresh",
        ],
        has_keys: true,
    },
    // a column of changes that are joined first had the name of their weight
    Known {
        tables: &[("t1", &["a"]), ("t2", &["a"])],
        query: "SELECT sum(r1.weight) AS n, sum(r2.weight) AS m FROM t1 AS r0 JOIN t2 AS r1 ON r0.id = r1.id JOIN t2 AS r2 ON r0.a = r2.id",
        names: &[("a", "weight")],
        steps: &[
            "create",
            "INSERT INTO t1 VALUES (1, 2), (2, 2)",
            "INSERT INTO t2 VALUES (1, 3), (2, 4)",
            "refresh",
            "UPDATE t2 SET weight = 7",
            "DELETE FROM t1 WHERE id = 1",
            "refresh",
        ],
        has_keys: true,
    },
    // what is computed of a key that is never NULL in the table is so in a grouping set without it
    Known {
        tables: &[("t1", &["a"])],
        query: "SELECT id + 1 AS next, id::text || 'x' AS word, coalesce(id, 0) AS same, count(*) AS n FROM t1 GROUP BY ROLLUP (id)",
        names: &[],
        steps: &[
            "create",
            "INSERT INTO t1 VALUES (1, 2), (2, 3)",
            "refresh",
            "INSERT INTO t1 VALUES (3, 3)",
            "refresh",
            "DELETE FROM t1 WHERE id < 3",
            "refresh",
        ],
        has_keys: true,
    },
    // a value of a subquery is NULL where it has no row, whatever its column says
    Known {
        tables: &[("t1", &["a"]), ("t2", &["a"])],
        query: "SELECT x.a, count(x.n) AS n, sum(x.m + 1) AS m, count(x.m + 1) AS k
                FROM (SELECT r0.a, (SELECT r1.id FROM t2 AS r1 WHERE r1.id = r0.a) AS n, (SELECT r1.id * 2 FROM t2 AS r1 WHERE r1.id = r0.id) AS m FROM t1 AS r0) AS x
                GROUP BY x.a",
        names: &[],
        steps: &[
            "INSERT INTO t1 VALUES (1, 1), (2, 7), (3, 1)",
            "INSERT INTO t2 VALUES (1, 1), (2, 2)",
            "create",
            "INSERT INTO t1 VALUES (4, 8), (5, 1)",
            "DELETE FROM t2 WHERE id = 1",
            "refresh",
            "INSERT INTO t2 VALUES (7, 2)",
            "refresh",
        ],
        has_keys: true,
    },
    // changes of three tables that keys join, one by two ways
    Known {
        tables: &[("t1", &["a", "n"]), ("t2", &["a", "n"]), ("t3", &["a"])],
        query: "SELECT t3.a, sum(t1.n * t2.n) AS total, count(t1.n - t2.n) AS pairs FROM t1 JOIN t2 ON t1.a = t2.id JOIN t3 ON t2.a = t3.id AND t1.id >= t3.a GROUP BY t3.a",
        names: &[],
        steps: &[
            "INSERT INTO t3 VALUES (1, 1), (2, 0)",
            "INSERT INTO t2 VALUES (1, 1, 2), (2, 2, NULL)",
            "INSERT INTO t1 VALUES (1, 1, 5), (2, 2, 7), (3, 1, NULL)",
            "create",
            "UPDATE t1 SET n = 4, a = 2 WHERE id = 1",
            "UPDATE t2 SET n = 9 WHERE id = 2",
            "UPDATE t3 SET a = 2 WHERE id = 2",
            "refresh",
            "DELETE FROM t3 WHERE id = 1",
            "UPDATE t2 SET a = 2",
            "UPDATE t1 SET n = 1",
            "refresh",
        ],
        has_keys: true,
    },
    // a sum that was NaN was computed anew by a statement that had nothing to do
    Known {
        tables: &[("t1", &["n"]), ("t2", &[])],
        query: "SELECT sum(t1.n) FROM t2 CROSS JOIN t1",
        names: &[],
        steps: &[
            "INSERT INTO t2 VALUES (1017)",
            "create",
            "late:BEGIN",
            "late:DELETE FROM t2",
            "INSERT INTO t1 VALUES (28, 'NaN')",
            "refresh",
            "late:COMMIT",
            "refresh",
        ],
        has_keys: false,
    },
    // names of parts of the statement
    Known {
        tables: &[("t1", &["a"]), ("t2", &["a"])],
        query: "SELECT t1.a, count(*) AS n FROM t1 JOIN t2 ON t1.id = t2.id GROUP BY t1.a",
        names: &[("t1", "row"), ("t2", "numbered")],
        steps: &[
            "create",
            "INSERT INTO t1 VALUES (1, 2)",
            "INSERT INTO t2 VALUES (1, 3)",
            "refresh",
        ],
        has_keys: false,
    },
    // two names that are the same when cut off
    Known {
        tables: &[("t1", &["a"])],
        query: "SELECT r0.a, r1.a AS b FROM t1 AS r0 JOIN t1 AS r1 ON r0.id = r1.id",
        names: &[(
            "t1",
            "a_table_whose_name_is_as_long_as_a_name_can_be_which_is_63_byte",
        )],
        steps: &["create", "INSERT INTO t1 VALUES (1, 2)", "refresh"],
        has_keys: false,
    },
    // a slice of an array with NULLs is equal to, but not the same bytes as, one of an array without
    Known {
        tables: &[("t1", &["g"])],
        query: "SELECT g[:1] AS first FROM t1",
        names: &[],
        steps: &[
            "create",
            "INSERT INTO t1 VALUES (1, '{1,2}'), (2, '{1,NULL}'), (3, '{1,3}')",
            "refresh",
            "DELETE FROM t1 WHERE id = 1",
            "refresh",
            "DELETE FROM t1 WHERE id = 2",
            "refresh",
        ],
        has_keys: false,
    },
    // of several first rows for each row outside only the first was taken
    Known {
        tables: &[("t1", &["a", "b"])],
        query: "SELECT r0.id, r1.val FROM t1 AS r0 CROSS JOIN LATERAL (SELECT t1.a AS val FROM t1 WHERE t1.b = r0.b ORDER BY t1.a LIMIT 2) AS r1",
        names: &[],
        steps: &[
            "INSERT INTO t1 VALUES (1, 5, 'x')",
            "create",
            "INSERT INTO t1 VALUES (9, 3, 'x'), (28, 2, 'x'), (29, 2, 'y')",
            "refresh",
            "DELETE FROM t1 WHERE a = 2",
            "refresh",
        ],
        has_keys: false,
    },
];

/// Queries that people write, over [`EVERYDAY_TABLES`].
const EVERYDAY: &[&str] = &[
    // a sum of nothing but NULLs is NULL, not 0; and a group without rows is not there
    "SELECT a, sum(c) AS s, avg(c) AS m, count(c) AS n FROM t1 GROUP BY a",
    "SELECT sum(c) AS s, min(c) AS m FROM t1",
    // deviations of groups of one row and of none
    "SELECT a, stddev(c) AS s, var_pop(id) AS v, stddev_samp(id) AS t FROM t1 GROUP BY a",
    // the first row of each value, also when it goes
    "SELECT DISTINCT ON (a) a, id, b, c FROM t1 ORDER BY a, f DESC, id",
    // NULLs are elements of arrays
    "SELECT a, array_agg(b ORDER BY b) AS bs, array_agg(id ORDER BY id DESC) AS ids FROM t1 GROUP BY a",
    // a query of WITH that is read twice is one
    "WITH w AS (SELECT a, count(*) AS n FROM t1 GROUP BY a) SELECT x.a, y.n FROM w AS x JOIN w AS y ON x.a = y.a WHERE x.n <= y.n",
    "WITH w AS MATERIALIZED (SELECT id, a FROM t1) SELECT w.id, (SELECT count(*) FROM w AS v WHERE v.a = w.a) AS n FROM w",
    "SELECT a, b, count(*) AS n, grouping(a, b) AS g FROM t1 GROUP BY ROLLUP (a, b)",
    "SELECT count(*) AS n FROM t1 GROUP BY GROUPING SETS ((), ())",
    "SELECT id FROM t1 WHERE a = 1 OR EXISTS (SELECT FROM t2 WHERE t2.a = t1.id)",
    // an array that a subquery makes of the row, and not the rows of that subquery
    "SELECT id, a FROM t1 WHERE a = ANY (ARRAY(SELECT x * t1.id FROM generate_series(0, 2) AS x ORDER BY x * t1.id))",
    // whole rows: one that is not there is NULL, one of NULLs is not
    "SELECT t1.id, to_jsonb(t1) AS j, row_to_json(t2) AS r FROM t1 LEFT JOIN t2 ON t2.id = t1.a",
    "SELECT t1.id AS one, to_jsonb(w) AS j, w.n FROM t1 LEFT JOIN (SELECT a, count(*) AS n FROM t2 GROUP BY a) AS w ON w.a = t1.a",
    "SELECT a, jsonb_agg(t1 ORDER BY id) AS list, count(t1) AS n FROM t1 GROUP BY a",
    "SELECT t2.id, (SELECT json_agg(row_to_json(t1) ORDER BY t1.id) FROM t1 WHERE t1.a = t2.id) AS own FROM t2",
    "SELECT t2.id, (SELECT json_agg(t1 ORDER BY t1.id) FROM t1 WHERE t1.a = t2.id) AS own FROM t2",
    "SELECT t2.a, json_agg(t1 ORDER BY t2.id, t1.id) AS list FROM t2 JOIN t1 ON t1.a = t2.id GROUP BY t2.a",
    "SELECT t2.id, (SELECT jsonb_build_object('of', t2, 'n', count(*)) FROM t1 WHERE t1.a = t2.id) AS own FROM t2",
    "SELECT w.whole_row, to_json(w) AS j FROM (SELECT a AS whole_row, max(b) AS \"B\" FROM t1 GROUP BY a) AS w",
    // arguments that are left out, named, and made an array
    "SELECT id, make_interval(days => id, secs => a) AS i, jsonb_set('{}', '{a}', to_jsonb(a)) AS j FROM t1",
    "SELECT id, jsonb_path_query_first(to_jsonb(t1), '$.b') AS b, jsonb_extract_path_text(to_jsonb(t1), 'a') AS t FROM t1",
    "SELECT t1.id, p.x FROM t1, jsonb_path_query(to_jsonb(t1), '$.*') AS p (x)",
    "SELECT id FROM t1 WHERE id < (SELECT max(t2.a) FROM t2)",
    "SELECT id FROM t1 WHERE c > (SELECT avg(o.c) FROM t1 AS o WHERE o.a = t1.a)",
    // groups that only some rows of a join ask for, and groupings of such
    "SELECT sum(t1.c) AS s, count(*) AS n FROM t1 JOIN t2 ON t2.id = t1.a WHERE t1.c <= (SELECT avg(o.c) FROM t1 AS o WHERE o.a = t2.id)",
    "SELECT t1.id, g.n FROM t1 JOIN t2 ON t2.id = t1.id LEFT JOIN (SELECT a, count(*) AS n FROM t1 GROUP BY a) AS g ON g.a = t2.a",
    "SELECT t1.id FROM t1 JOIN t2 ON t2.id = t1.id WHERE EXISTS (SELECT FROM (SELECT a, count(*) AS n FROM t1 GROUP BY a) AS g WHERE g.a = t2.a AND g.n > t1.a)",
    "SELECT a, min(c) AS m, max(c) AS x, count(*) AS n FROM t1 WHERE NOT EXISTS (SELECT FROM t2 WHERE t2.a = t1.id) GROUP BY a",
    "SELECT t2.a, max(t1.c) AS m, avg(t1.c) AS v FROM t1 LEFT JOIN t2 ON t2.id = t1.a GROUP BY t2.a HAVING count(*) > 1",
    "SELECT max(t1.c) AS m, sum(t1.c) AS s FROM t1 LEFT JOIN t2 ON t2.id = t1.a",
    "SELECT DISTINCT t2.a FROM t1 LEFT JOIN t2 ON t2.id = t1.a",
    // groupings all of whose groups are read
    "WITH w AS (SELECT a, sum(c) AS s FROM t1 GROUP BY a) SELECT t2.id, w.a, w.s FROM t2 JOIN w ON w.a = t2.a WHERE w.s = (SELECT max(s) FROM w)",
    "SELECT a, sum(c) AS s, count(*) AS n FROM t1 GROUP BY a ORDER BY count(*) DESC, a LIMIT 2",
    "SELECT a, b, avg(c) AS m, min(id) AS i FROM t1 GROUP BY a, b HAVING count(*) > 0 ORDER BY min(id) DESC, a, b LIMIT 2 OFFSET 1",
    "SELECT t2.id, t2.a, sum(t1.c) AS s FROM t1 JOIN t2 ON t2.id = t1.a GROUP BY t2.id, t2.a ORDER BY sum(t1.c) DESC NULLS LAST, t2.id LIMIT 2",
    "SELECT n, count(*) AS groups FROM (SELECT a, count(*) AS n FROM t1 GROUP BY a) AS g GROUP BY n ORDER BY n LIMIT 1",
    "SELECT t2.id, g.n FROM t2 JOIN (SELECT a, max(c) AS n FROM t1 GROUP BY a) AS g ON g.a = t2.a ORDER BY t2.id LIMIT 3",
    "SELECT a, n FROM (SELECT a, count(*) AS n FROM t1 GROUP BY a) AS g WHERE n > (SELECT avg(n) FROM (SELECT a, count(*) AS n FROM t1 GROUP BY a) AS h)",
    // a window ordered by what is not shown
    "SELECT id, rank() OVER (PARTITION BY a ORDER BY c DESC NULLS LAST) AS place FROM t1",
    "SELECT id, sum(c) OVER (PARTITION BY a ORDER BY f, id ROWS UNBOUNDED PRECEDING) AS so_far FROM t1",
    // names are those of the first query
    "SELECT id AS x, b AS y FROM t1 UNION ALL SELECT a, 'z' FROM t2",
    "SELECT a FROM t1 INTERSECT SELECT a FROM t2",
    "SELECT a FROM t1 INTERSECT ALL SELECT a FROM t2",
    "SELECT a FROM t1 EXCEPT SELECT a FROM t2",
    "SELECT a FROM t1 EXCEPT ALL SELECT a FROM t2",
    "(SELECT a FROM t1 UNION SELECT id FROM t2) EXCEPT (SELECT a FROM t2 INTERSECT SELECT id FROM t1)",
    "SELECT t1.id, t1.b, t2.a AS other FROM t1 LEFT JOIN t2 ON t2.id = t1.a",
    "SELECT t1.id, t2.id AS other FROM t1 FULL JOIN t2 ON t2.a = t1.a",
    "SELECT id, b FROM t1 ORDER BY f DESC NULLS LAST, id LIMIT 3",
    // the first rows of each row outside: more than one, not from the first on, with those that are equal
    "SELECT t1.id, x.id AS other FROM t1 CROSS JOIN LATERAL (SELECT o.id FROM t1 AS o WHERE o.a = t1.a ORDER BY o.id DESC LIMIT 2) AS x",
    "SELECT t2.id, x.id AS other FROM t2 LEFT JOIN LATERAL (SELECT o.id FROM t1 AS o WHERE o.a = t2.a ORDER BY o.id LIMIT 1 OFFSET 1) AS x ON true",
    "SELECT t2.id, x.id AS other FROM t2 CROSS JOIN LATERAL (SELECT o.id FROM t1 AS o WHERE o.a = t2.a ORDER BY o.f FETCH FIRST 1 ROW WITH TIES) AS x",
    // where a subquery has no row, the value is NULL, whatever would be computed of it
    "SELECT id, (SELECT coalesce(t2.a, 7) FROM t2 WHERE t2.id = t1.a) AS other FROM t1",
];

const EVERYDAY_TABLES: &[(&str, &[&str])] = &[("t1", &["a", "b", "c", "f"]), ("t2", &["a"])];

/// Rows come, become NULL, go by ones and all at once; a transaction commits late.
const EVERYDAY_STEPS: &[&str] = &[
    "INSERT INTO t1 (id, a, b, c, f) VALUES (1, 1, 'x', 1.50, '2024-01-01'), (2, 1, NULL, NULL, NULL), (3, 2, 'y', 2, '2024-01-02'), (4, NULL, 'x', NULL, '2024-01-02'), (5, 2, 'y', 2, NULL)",
    "INSERT INTO t2 (id, a) VALUES (1, 1), (2, 1), (3, NULL), (4, 5)",
    "create",
    "INSERT INTO t1 (id, a, b, c, f) VALUES (6, 3, NULL, 7, '2024-01-05'), (7, 1, 'x', 1.50, '2024-01-01')",
    "refresh",
    "UPDATE t1 SET c = NULL WHERE a = 1 OR a = 3",
    "refresh",
    "UPDATE t2 SET a = 2 WHERE a IS NULL",
    "DELETE FROM t2 WHERE id = 1",
    "refresh",
    "UPDATE t1 SET a = NULL, f = NULL, b = NULL WHERE id IN (1, 3)",
    "refresh",
    "late:BEGIN",
    "late:INSERT INTO t1 (id, a, b, c, f) VALUES (1001, 2, 'y', 0, '2024-02-01')",
    "late:INSERT INTO t2 (id, a) VALUES (1001, 6)",
    "DELETE FROM t1 WHERE id = 6",
    "refresh",
    "late:COMMIT",
    "refresh",
    "DELETE FROM t1",
    "refresh",
    "INSERT INTO t1 (id, a, b, c, f) VALUES (1, NULL, NULL, NULL, NULL)",
    "DELETE FROM t2",
    "refresh",
];

impl Known {
    fn case(&self, form: Form) -> Case {
        let number = |column: &&str| COLUMNS.iter().position(|(name, _)| name == column);
        let tables = self.tables.iter().map(|(name, columns)| TableOf {
            table: Table {
                name: (*name).to_owned(),
                has_key: self.has_keys,
                not_null: 0,
            },
            columns: [0]
                .into_iter()
                .chain(columns.iter().filter_map(number))
                .collect(),
            refers_to: None,
            is_partitioned: false,
        });
        let steps = self.steps.iter().flat_map(|step| match *step {
            "create" => vec![Step::Create(0), Step::Upkeep, Step::Refresh(0)],
            "refresh" => vec![Step::Refresh(0)],
            sql => vec![match sql.strip_prefix("late:") {
                Some(late) => Step::Late(late.to_owned()),
                None => Step::Main(sql.to_owned()),
            }],
        });
        Case {
            names: Names::of_pairs(self.names),
            tables: tables.collect(),
            queries: vec![self.query.to_owned()],
            steps: steps.collect(),
            form,
        }
    }
}

/// Runs cases in every form; no view may be refused, nor always be refreshed completely.
async fn run(cases: impl Iterator<Item = &'_ Known>) {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    let (mut installed, _database) = Installed::open(TestServer::start().await).await;
    for known in cases {
        for form in [Form::Statement, Form::Function, Form::Unforeseen] {
            let case = known.case(form);
            let report = session.run(&case).await;
            let report = report.unwrap_or_else(|failure| panic!("{failure:?}\n{case:#?}"));
            assert!(
                report.fast > 0 && report.refused.is_empty(),
                "{:?}\n{case:#?}",
                report.refused
            );
        }
        let case = known.case(Form::Function);
        let report = installed.run(&case).await;
        let report = report.unwrap_or_else(|failure| panic!("{failure:?}\n{case:#?}"));
        assert!(report.fast > 0 && report.refused.is_empty(), "{case:#?}");
    }
}

#[tokio::test]
async fn cases_that_once_failed_are_exact() {
    run(KNOWN.iter()).await;
}

#[tokio::test]
async fn queries_that_people_write_are_exact_with_nulls_and_empty_groups_and_late_commits() {
    let cases: Vec<Known> = EVERYDAY
        .iter()
        .map(|query| Known {
            tables: EVERYDAY_TABLES,
            query,
            names: &[],
            steps: EVERYDAY_STEPS,
            has_keys: true,
        })
        .collect();
    run(cases.iter()).await;
}
