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
}

const KNOWN: &[Known] = &[
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
    },
];

impl Known {
    fn case(&self, form: Form) -> Case {
        let number = |column: &&str| COLUMNS.iter().position(|(name, _)| name == column);
        let tables = self.tables.iter().map(|(name, columns)| TableOf {
            table: Table {
                name: (*name).to_owned(),
                has_key: false,
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

#[tokio::test]
async fn cases_that_once_failed_are_exact() {
    let server = TestServer::start().await;
    let mut session = Session::open(&server).await;
    let (mut installed, _database) = Installed::open(TestServer::start().await).await;
    for known in KNOWN {
        for form in [Form::Statement, Form::Function, Form::Unforeseen] {
            let case = known.case(form);
            let report = session.run(&case).await;
            let report = report.unwrap_or_else(|failure| panic!("{failure:?}\n{case:#?}"));
            assert!(report.fast > 0 && report.refused.is_empty(), "{case:#?}");
        }
        let case = known.case(Form::Function);
        let report = installed.run(&case).await;
        let report = report.unwrap_or_else(|failure| panic!("{failure:?}\n{case:#?}"));
        assert!(report.fast > 0 && report.refused.is_empty(), "{case:#?}");
    }
}
