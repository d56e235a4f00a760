//! A random case as data: tables, queries, and what is done one after the other. Data can be cut down, see [`crate::shrink`].

use fastrand::Rng;

use crate::changes;
use crate::generate::{self, COLUMNS, Queries, Table};
use crate::words::Names;

/// A table of a case: which of the [`COLUMNS`] it has, and perhaps a foreign key from column `a` to another table's `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableOf {
    pub(crate) table: Table,
    pub(crate) columns: Vec<usize>,
    pub(crate) refers_to: Option<String>,
}

impl TableOf {
    /// `CREATE TABLE`, and a view over the table.
    pub(crate) fn ddl(&self) -> String {
        let name = &self.table.name;
        let mut items: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} {}", COLUMNS[*column].0, COLUMNS[*column].1))
            .collect();
        if self.table.has_key {
            items.push("PRIMARY KEY (id)".to_owned());
        }
        if let Some(other) = &self.refers_to {
            let action = if self.table.has_key {
                "CASCADE"
            } else {
                "SET NULL"
            };
            items.push(format!(
                "FOREIGN KEY (a) REFERENCES {other} (id) ON DELETE {action} ON UPDATE CASCADE"
            ));
        }
        let filter = if self.columns.iter().any(|column| COLUMNS[*column].0 == "d") {
            " WHERE d IS NOT FALSE"
        } else {
            ""
        };
        format!(
            "CREATE TABLE {name} ({});\nCREATE VIEW view_{name} AS SELECT * FROM {name}{filter};",
            items.join(", ")
        )
    }
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A statement of the first session.
    Main(String),
    /// A statement of a second session, whose transactions commit late.
    Late(String),
    /// The materialized views are made, each filled with what its query gives.
    Create,
    /// The materialized view of that query is refreshed, and compared.
    Refresh(usize),
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) names: Names,
    pub(crate) tables: Vec<TableOf>,
    pub(crate) queries: Vec<String>,
    pub(crate) steps: Vec<Step>,
    /// How refreshes are run.
    pub(crate) way: Way,
}

/// How a refresh is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As one statement for changes of any tables.
    Statement,
    /// By the function that chooses the statement.
    Function,
    /// By that function, which always finds that more is pending than it has foreseen.
    Unforeseen,
}

/// The late session's rows have ids from here on, those of the others lie below, so that neither waits for the other.
const LATE: i32 = 1000;

impl Case {
    /// The case of a seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let tables = tables(&mut rng);
        let bare: Vec<Table> = tables.iter().map(|table| table.table.clone()).collect();
        let queries = (0..if rng.u8(..3) == 0 { 2 } else { 1 })
            .map(|_| {
                Queries {
                    rng: &mut rng,
                    tables: &bare,
                }
                .query()
            })
            .collect();
        let mut case = Self {
            names: Names::random(&mut rng),
            tables,
            queries,
            steps: Vec::new(),
            way: match rng.u8(..5) {
                0 => Way::Statement,
                1 => Way::Unforeseen,
                _ => Way::Function,
            },
        };
        case.fill_tables(&mut rng);
        case.steps.push(Step::Create);
        for _ in 0..rng.u8(3..6) {
            case.round(&mut rng, &bare);
        }
        case
    }

    fn fill_tables(&mut self, rng: &mut Rng) {
        let referred: Vec<String> = self
            .tables
            .iter()
            .filter_map(|table| table.refers_to.clone())
            .collect();
        for table in &self.tables {
            let name = &table.table.name;
            if referred.contains(name) {
                self.steps.push(Step::Main(format!(
                    "INSERT INTO {name} (id) SELECT generate_series(-1, 4)"
                )));
            }
            for _ in 0..rng.u8(..4) {
                let rows = generate::insert(rng, &table.table, 0);
                self.steps.push(Step::Main(rows));
            }
        }
    }

    /// Some transactions, refreshes, and perhaps a transaction that stays open beyond them.
    fn round(&mut self, rng: &mut Rng, tables: &[Table]) {
        let is_late = rng.u8(..3) == 0;
        if is_late {
            self.steps.push(Step::Late("BEGIN".to_owned()));
            for _ in 0..rng.u8(1..5) {
                let table = &tables[rng.usize(..tables.len())];
                let change = generate::change(rng, table, LATE, 2 * LATE);
                self.steps.push(Step::Late(change));
            }
        }
        for _ in 0..rng.u8(1..3) {
            self.transaction(rng, tables, !is_late);
        }
        self.refreshes(rng);
        if is_late {
            let end = if rng.u8(..4) == 0 {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            self.steps.push(Step::Late(end.to_owned()));
            if rng.bool() {
                self.transaction(rng, tables, true);
            }
            self.refreshes(rng);
        }
    }

    fn refreshes(&mut self, rng: &mut Rng) {
        for view in 0..self.queries.len() {
            if self.queries.len() == 1 || rng.u8(..4) > 0 {
                self.steps.push(Step::Refresh(view));
            }
        }
    }

    /// A transaction of changes, some of them in a subtransaction, perhaps undone. `TRUNCATE` only where no other transaction
    /// is open that has written: it would wait for it.
    fn transaction(&mut self, rng: &mut Rng, tables: &[Table], may_truncate: bool) {
        let mut main = |statement: &str| self.steps.push(Step::Main(statement.to_owned()));
        main("BEGIN");
        for _ in 0..rng.u8(1..5) {
            let table = &tables[rng.usize(..tables.len())];
            let change = match rng.u8(..12) {
                0..3 => changes::special(rng, table, tables, LATE),
                3 if may_truncate && rng.u8(..8) == 0 => {
                    format!("TRUNCATE {} CASCADE", table.name)
                }
                _ => generate::change(rng, table, 0, LATE),
            };
            let in_savepoint = rng.u8(..6) == 0;
            if in_savepoint {
                main("SAVEPOINT before");
            }
            main(&change);
            if in_savepoint {
                main(if rng.bool() {
                    "ROLLBACK TO before"
                } else {
                    "RELEASE before"
                });
            }
        }
        main(if rng.u8(..8) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        });
    }
}

fn tables(rng: &mut Rng) -> Vec<TableOf> {
    let mut tables: Vec<TableOf> = Vec::new();
    for table in generate::tables(rng) {
        let parent = tables
            .iter()
            .find(|other| other.table.has_key)
            .map(|other| other.table.name.clone());
        tables.push(TableOf {
            table,
            columns: (0..COLUMNS.len()).collect(),
            refers_to: parent.filter(|_| rng.u8(..4) == 0),
        });
    }
    tables
}
