//! A random case as data: tables, queries, and what is done one after the other. Data can be cut down, see [`crate::shrink`].

use fastrand::Rng;

use crate::changes;
use crate::generate::{self, COLUMNS, Queries, Table};
use crate::words::{Names, words};

/// A table of a case: which of the [`COLUMNS`] it has, and perhaps a foreign key from column `a` to another table's `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableOf {
    pub(crate) table: Table,
    pub(crate) columns: Vec<usize>,
    pub(crate) refers_to: Option<String>,
    /// By ranges of `id`: `…_low`, `…_high` and the rest.
    pub(crate) is_partitioned: bool,
}

/// How a case is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The compiler's statements on logs of the test's own.
    Statements,
    /// The whole of it, as installed.
    Installed,
}

impl TableOf {
    /// `CREATE TABLE`, and a view over the table.
    pub(crate) fn ddl(&self) -> String {
        let name = &self.table.name;
        let mut items: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let (name, data_type) = COLUMNS[*column];
                // where the row that it refers to goes, it may become NULL
                let is_set = name == "a" && self.refers_to.is_some();
                let is_not_null = self.table.is_not_null(*column) && !is_set;
                let constraint = if is_not_null { " NOT NULL" } else { "" };
                format!("{name} {data_type}{constraint}")
            })
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
        let partitions = if self.is_partitioned {
            format!(
                " PARTITION BY RANGE (id);
CREATE TABLE {name}_low PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO (12);
CREATE TABLE {name}_high PARTITION OF {name} FOR VALUES FROM (12) TO (1000);
CREATE TABLE {name}_rest PARTITION OF {name} DEFAULT"
            )
        } else {
            String::new()
        };
        format!(
            "CREATE TABLE {name} ({}){partitions};\nCREATE VIEW view_{name} AS SELECT * FROM {name}{filter};",
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
    /// The materialized view of that query is made, filled with what its query gives.
    Create(usize),
    /// The materialized view of that query is refreshed, and compared.
    Refresh(usize),
    /// The daemon looks after things: compiles, repairs.
    Upkeep,
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) names: Names,
    pub(crate) tables: Vec<TableOf>,
    pub(crate) queries: Vec<String>,
    pub(crate) steps: Vec<Step>,
    /// How refreshes are run.
    pub(crate) form: Form,
}

/// How a refresh is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
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
    pub(crate) fn random(seed: u64, way: Way) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut tables = tables(&mut rng);
        for table in &mut tables {
            table.is_partitioned = way == Way::Installed && rng.u8(..5) == 0;
        }
        let mut case = Self {
            names: Names::random(&mut rng),
            queries: queries(&mut rng, &tables, way),
            tables,
            steps: Vec::new(),
            form: match rng.u8(..5) {
                0 => Form::Statement,
                1 => Form::Unforeseen,
                _ => Form::Function,
            },
        };
        case.fill_tables(&mut rng);
        // what is pending for one when the next one is made is of use, too
        for view in 0..case.queries.len() {
            if view > 0 && rng.bool() {
                case.round(&mut rng, view, way);
            }
            case.steps.extend([Step::Create(view), Step::Upkeep]);
        }
        // many queries find more than many changes of one
        let rounds = match way {
            Way::Statements => 2..5,
            Way::Installed => 3..6,
        };
        for _ in 0..rng.u8(rounds) {
            case.round(&mut rng, case.queries.len(), way);
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

    /// Some transactions, refreshes of the first views, and perhaps a transaction that stays open beyond them.
    fn round(&mut self, rng: &mut Rng, views: usize, way: Way) {
        let is_late = rng.u8(..3) == 0;
        // where one table alone has changed there is a statement of its own
        let only = rng.bool().then(|| rng.usize(..self.tables.len()));
        if is_late {
            self.steps.push(Step::Late("BEGIN".to_owned()));
            for _ in 0..rng.u8(1..5) {
                let number = only.unwrap_or_else(|| rng.usize(..self.tables.len()));
                let table = &self.tables[number].table;
                let change = generate::change(rng, table, LATE, 2 * LATE);
                self.steps.push(Step::Late(change));
            }
        }
        if way == Way::Installed {
            self.circumstances(rng);
        }
        let refreshed_within =
            (way == Way::Installed && rng.u8(..5) == 0).then(|| rng.usize(..views));
        for _ in 0..rng.u8(1..3) {
            self.transaction(rng, !is_late, only, refreshed_within);
        }
        self.refreshes(rng, views);
        if is_late {
            let end = if rng.u8(..4) == 0 {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            self.steps.push(Step::Late(end.to_owned()));
            if rng.bool() {
                self.transaction(rng, true, only, None);
            }
            self.refreshes(rng, views);
        }
    }

    fn circumstances(&mut self, rng: &mut Rng) {
        let level = ["read committed", "repeatable read", "serializable"][rng.usize(..3)];
        let setting = format!("SET default_transaction_isolation = '{level}'");
        self.steps.push(Step::Main(setting));
        match rng.u8(..4) {
            0 => self.steps.push(Step::Upkeep),
            1 => self.steps.push(Step::Main(
                "SELECT mvrefresh.prune_logs('1 hour')".to_owned(),
            )),
            _ => {}
        }
    }

    fn refreshes(&mut self, rng: &mut Rng, views: usize) {
        for view in 0..views {
            if views == 1 || rng.u8(..4) > 0 {
                self.steps.push(Step::Refresh(view));
            }
        }
    }

    /// A transaction of changes (mostly of one table, if that is wanted), some of them in a subtransaction, perhaps undone. `TRUNCATE` only where no other transaction
    /// is open that has written: it would wait for it.
    fn transaction(
        &mut self,
        rng: &mut Rng,
        may_truncate: bool,
        only: Option<usize>,
        refreshed_within: Option<usize>,
    ) {
        let tables: Vec<Table> = self.tables.iter().map(|of| of.table.clone()).collect();
        let mut steps = Vec::new();
        let mut main = |statement: &str| steps.push(Step::Main(statement.to_owned()));
        main("BEGIN");
        for _ in 0..rng.u8(1..5) {
            let number = only.unwrap_or_else(|| rng.usize(..tables.len()));
            let table = &tables[number];
            let mut change = match rng.u8(..12) {
                0..3 => changes::special(rng, table, &tables, LATE),
                3 if may_truncate && rng.u8(..8) == 0 => {
                    format!("TRUNCATE {} CASCADE", table.name)
                }
                _ => generate::change(rng, table, 0, LATE),
            };
            if self.tables[number].is_partitioned && rng.u8(..3) == 0 {
                change = changes::of_partition(rng, table, &change);
            }
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
        if let Some(view) = refreshed_within {
            steps.insert(rng.usize(1..steps.len()), Step::Refresh(view));
        }
        self.steps.extend(steps);
    }
}

/// Columns that can not be columns of a materialized view that is refreshed fast.
const NOT_COPIED: [&str; 4] = ["g", "m", "h", "w"];

/// Some queries. Installed, the first may be a copy of a table, which the others read as if it were one.
fn queries(rng: &mut Rng, tables: &[TableOf], way: Way) -> Vec<String> {
    let mut sources: Vec<Table> = tables.iter().map(|of| of.table.clone()).collect();
    let mut queries = Vec::new();
    let has_copy = way == Way::Installed && rng.u8(..4) == 0;
    if has_copy {
        let table = &sources[rng.usize(..sources.len())].name;
        let columns = COLUMNS.iter().map(|(column, _)| *column);
        let copied: Vec<&str> = columns
            .filter(|column| !NOT_COPIED.contains(column))
            .collect();
        queries.push(format!(
            "SELECT {} FROM {table} WHERE a IS DISTINCT FROM 2",
            copied.join(", ")
        ));
        sources.push(Table {
            name: "mv0".to_owned(),
            has_key: false,
            not_null: 0,
        });
    }
    let many = queries.len() + if rng.u8(..3) == 0 { 2 } else { 1 };
    while queries.len() < many {
        let query = Queries {
            rng: &mut *rng,
            tables: &sources,
            // what is refreshed completely as well is compared with the query to the letter
            has_bounds: way == Way::Statements,
        }
        .query();
        let reads_others = words(&query)
            .into_iter()
            .any(|(_, place)| NOT_COPIED.contains(&&query[place]));
        if !has_copy || !reads_others {
            queries.push(query);
        }
    }
    queries
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
            is_partitioned: false,
        });
    }
    tables
}
