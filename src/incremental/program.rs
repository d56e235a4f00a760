//! The whole statement, and what belongs to it.

use std::collections::{BTreeMap, BTreeSet};

use super::blocks::{Block, flatten, not_simple, substituted};
use super::bounds::require_short;
use super::logs::{Changed, ChangedTable, changed_tables};
use super::names::Names;
use super::print::sql;
use super::statement::Compiler;
use super::terms::{as_columns, qualified};
use super::tolerance::Tolerance;
use super::variants::variants;
use super::{general, groups};
use crate::definition::{AggregateCall, Expression, Operator, Query, Refusal};
use crate::sql::{ModuleSchema, identifier};

/// For which materialized view a refresh is compiled.
#[derive(Debug, Clone)]
pub struct Target {
    /// The module schema, with the logs and the state table in it.
    pub module: ModuleSchema,
    /// The number of the materialized view.
    pub mv_id: i32,
    /// The schema of the materialized view.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The logs by the oid of their base table.
    pub logs: BTreeMap<u32, i32>,
}

impl Target {
    /// An object of the module schema.
    pub(super) fn in_module(&self, name: &str) -> String {
        format!("{}.{}", identifier(self.module.name()), identifier(name))
    }

    /// The name of a state table, by its place among those of the materialized view, from 1 on.
    pub(super) fn state_name(&self, number: usize) -> String {
        match number {
            1 => format!("state${}", self.mv_id),
            _ => format!("state${}_{number}", self.mv_id),
        }
    }

    /// The materialized view.
    pub(super) fn view_text(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}

/// Everything that a fast refresh of one materialized view consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastRefresh {
    /// One statement. Its parameter `$1` is the watermark (`pg_snapshot`); it gives one row `(snapshot pg_snapshot,
    /// rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete)`. If `rows_missing` is not 0 the stored rows
    /// were not those of the watermark, if `must_complete` a log says that it lacks changes: in both cases the transaction
    /// must not commit without a complete refresh.
    pub statement: String,
    /// The same for the case that only one base table has changed, or two that are joined; it gives `unforeseen` as well.
    pub variants: Vec<Variant>,
    /// For each base table of `logged` the quoted name of its log.
    pub logs: Vec<String>,
    /// What the logs must hold, in the order of the base tables' oids.
    pub logged: Vec<LoggedTable>,
    /// What has to be kept beside the materialized view's rows, in an order in which each can be filled.
    pub states: Vec<StateTable>,
    /// If there is any: the materialized view's rows, told from those of all of them, which are called `fresh_state_<n>`, n
    /// being the place, counted from 1.
    pub outputs: Option<String>,
    /// The index by which stored rows are found, if one is needed, as `CREATE INDEX`.
    pub row_index: Option<String>,
    /// How to compare its rows with those of the query, if not to the last digit.
    pub tolerance: Option<Tolerance>,
    /// Whether it may depend on the settings with which the materialized view was created.
    pub reads_settings: bool,
    /// How, in words.
    pub plan: Plan,
}

/// A statement for changes of some base tables only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Which ones, by their places in [`FastRefresh::logged`].
    pub tables: Vec<usize>,
    /// As [`FastRefresh::statement`], for not more pending rows of each table than the variable `at_most_<n>` says, n being
    /// its place, counted from 1; `all_<n>` says whether its log holds nothing else. If there are more, or a log says that it lacks changes, or other tables have changed as
    /// well, or it can't be done without them, it does nothing and gives true as one more column, `unforeseen`.
    pub statement: String,
    /// The same for few pending rows, where but one table is read, and once; it gives how many these are, `pending_rows`, before
    /// `unforeseen`, and needs to be told nothing. Unforeseen are then also more than the parameter `most`.
    pub few: Option<String>,
}

/// A base table whose changes are read, and which columns of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedTable {
    /// Its oid.
    pub oid: u32,
    /// The names of the columns.
    pub columns: Vec<String>,
}

/// A table with what the materialized view's own rows don't tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTable {
    /// Its name, not quoted.
    pub table: String,
    /// Makes the table and its index; several statements.
    pub create: String,
    /// Its columns, quoted.
    pub columns: Vec<String>,
    /// The query whose rows it holds; must see the snapshot at which the materialized view is filled. It may read the rows of
    /// tables before it, as `fresh_state_<n>`.
    pub rows: String,
    /// Its own such rows as far as they differ from what is stored: `state_address` (where something is stored that is to
    /// go), `is_fresh` (whether a row is to come) and the columns.
    pub difference: String,
}

/// The strategy, for `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Per base table what a change of it costs.
    pub tables: Vec<(String, String)>,
    /// Per clause how it is maintained.
    pub clauses: Vec<(String, String)>,
    /// What a refresh looks up in base tables; each wants an index.
    pub lookups: Vec<Lookup>,
}

/// Rows of a base table that are sought by the values of some columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The table's oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The names of the columns, in no order that matters.
    pub columns: Vec<String>,
}

/// Compiles the fast refresh of a query, or says why there is none.
pub fn compile(query: &Query, target: &Target) -> Result<FastRefresh, Refusal> {
    let fast = if general::is_inexact(&query.root) {
        general::compile_anew(query, target)?
    } else {
        simple(query, target)
            .or_else(|_| grouped(query, target))
            .or_else(|_| general::compile(query, target))?
    };
    let variants = fast.variants.iter().map(|variant| &variant.statement);
    for statement in variants.chain([&fast.statement]) {
        require_short(statement)?;
    }
    Ok(fast)
}

/// The fast refresh of a query that is a bag or one grouping, over a sum of joins of base tables.
fn simple(query: &Query, target: &Target) -> Result<FastRefresh, Refusal> {
    let shape = Shape::of(&query.root)?;
    let tables = match &shape.grouping {
        None => changed_tables(&shape.blocks, target)?,
        // of what is grouped, only what goes into keys and aggregates
        Some(grouping) => changed_tables(&groups::inputs(grouping, &shape.blocks).0, target)?,
    };
    if query.columns.is_empty() {
        return Err(Refusal::new("SELECT", "there are no columns"));
    }
    let taken = taken(query, &tables);
    let names = Names::outside(&taken.iter().map(String::as_str).collect());
    let columns: Vec<String> = query.columns.iter().map(|name| identifier(name)).collect();
    let compiler = Compiler::new(&shape, &tables, &columns, &names, target);
    let plan = plan(&shape, &tables, &compiler)?;
    refresh_by(&compiler, query, &tables, plan)
}

/// The fast refresh of a query that is one grouping over operators of any kind, of which counts and sums are kept.
fn grouped(query: &Query, target: &Target) -> Result<FastRefresh, Refusal> {
    let (grouping, input) = kept_grouping(&query.root)?;
    let over = general::Input::of(&groups::input_of(&grouping, input), query)?;
    let shape = Shape {
        grouping: Some(grouping),
        blocks: Vec::new(),
    };
    let tables = changed_tables(&over.read_columns(), target)?;
    let taken = taken(query, &tables);
    let names = Names::outside(
        &taken
            .iter()
            .map(String::as_str)
            .chain(over.column_names())
            .collect(),
    );
    let columns: Vec<String> = query.columns.iter().map(|name| identifier(name)).collect();
    let compiler = Compiler::new(&shape, &tables, &columns, &names, target).over(&over);
    let plan = over.plan(&tables, grouping_clauses(&shape, &compiler)?);
    refresh_by(&compiler, query, &tables, plan)
}

fn refresh_by(
    compiler: &Compiler<'_>,
    query: &Query,
    tables: &BTreeMap<u32, ChangedTable>,
    plan: Plan,
) -> Result<FastRefresh, Refusal> {
    let variants = variants(query, tables, &|changed| compiler.statement(changed))?;
    Ok(FastRefresh {
        statement: compiler.statement(Changed::Any)?,
        variants,
        logs: tables.values().map(|table| table.log.clone()).collect(),
        logged: tables.values().map(ChangedTable::logged).collect(),
        states: compiler.state_table()?.into_iter().collect(),
        outputs: compiler.outputs_of_state(),
        row_index: compiler.row_index(),
        tolerance: None,
        reads_settings: !query.is_plain(),
        plan: Plan {
            lookups: general::lookups(query)?,
            ..plan
        },
    })
}

/// A query as a grouping, if any, over a sum of blocks.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) grouping: Option<Grouping>,
    pub(super) blocks: Vec<Block>,
}

/// What is computed of groups, and which groups are shown. All over `keys` followed by `aggregates`.
#[derive(Debug)]
pub(super) struct Grouping {
    pub(super) keys: Vec<Expression>,
    pub(super) aggregates: Vec<AggregateCall>,
    pub(super) conditions: Vec<Expression>,
    pub(super) outputs: Vec<Expression>,
}

impl Grouping {
    /// Of a column the aggregate that it is, if the query itself has several values for it.
    pub(super) fn inexact(&self, column: usize) -> Option<&AggregateCall> {
        let call = &self.aggregates[column.checked_sub(self.keys.len())?];
        call.is_inexact().then_some(call)
    }

    /// Whether such a one is part of an expression.
    pub(super) fn is_inexact(&self, expression: &Expression) -> bool {
        let columns = expression.columns();
        columns.into_iter().any(|at| self.inexact(at).is_some())
    }
}

impl Shape {
    fn of(operator: &Operator) -> Result<Self, Refusal> {
        if !operator.is_aggregated() {
            return Ok(Self {
                grouping: None,
                blocks: flatten(operator)?,
            });
        }
        let (grouping, input) = kept_grouping(operator)?;
        Ok(Self {
            grouping: Some(grouping),
            blocks: flatten(input)?,
        })
    }
}

/// A grouping whose aggregates are told from counts, sums and extrema, and what is grouped.
fn kept_grouping(operator: &Operator) -> Result<(Grouping, &Operator), Refusal> {
    let (grouping, input) = grouping(operator)?;
    if grouping.aggregates.iter().any(|call| call.other.is_some()) {
        return Err(not_simple());
    }
    Ok((grouping, input))
}

/// A grouping at the root, and what is grouped.
pub(super) fn grouping(operator: &Operator) -> Result<(Grouping, &Operator), Refusal> {
    match operator {
        Operator::Aggregate {
            input,
            keys,
            aggregates,
        } => {
            let results = aggregates.iter().enumerate().map(|(position, aggregate)| {
                Expression::new(
                    crate::definition::Kind::Column(keys.len() + position),
                    aggregate.result.clone(),
                )
            });
            let grouping = Grouping {
                outputs: as_columns(keys).into_iter().chain(results).collect(),
                keys: keys.clone(),
                aggregates: aggregates.clone(),
                conditions: Vec::new(),
            };
            Ok((grouping, input))
        }
        Operator::Project { input, outputs } => {
            let (mut grouping, input) = grouping(input)?;
            let computed = |output| substituted(output, &grouping.outputs);
            grouping.outputs = outputs.iter().map(computed).collect();
            Ok((grouping, input))
        }
        Operator::Filter { input, condition } => {
            let (mut grouping, input) = grouping(input)?;
            let condition = substituted(condition, &grouping.outputs);
            grouping.conditions.push(condition);
            Ok((grouping, input))
        }
        Operator::Scan(_)
        | Operator::Values { .. }
        | Operator::Join(_)
        | Operator::UnionAll(_)
        | Operator::Outer { .. }
        | Operator::Unfold { .. }
        | Operator::Repeat { .. }
        | Operator::Window { .. }
        | Operator::First { .. }
        | Operator::Match { .. } => Err(not_simple()),
    }
}

/// Names that a statement's own must not be.
fn taken(query: &Query, tables: &BTreeMap<u32, ChangedTable>) -> BTreeSet<String> {
    let of_tables = tables.values().flat_map(|table| {
        let columns = table.relation.columns.iter();
        columns
            .map(|column| &column.name)
            .chain([&table.relation.name])
    });
    query.columns.iter().chain(of_tables).cloned().collect()
}

/// The outputs of a sum: what is known of each column is what is known in all blocks.
pub(super) fn common_outputs(blocks: &[Block]) -> Vec<Expression> {
    let Some((first, others)) = blocks.split_first() else {
        return Vec::new();
    };
    let mut outputs = first.outputs.clone();
    for (output, other) in others
        .iter()
        .flat_map(|block| block.outputs.iter().enumerate())
    {
        let output = &mut outputs[output];
        if output.scale != other.scale {
            output.scale = None;
        }
        if output.collation != other.collation {
            output.collation = None;
        }
        output.is_nullable |= other.is_nullable;
    }
    outputs
}

fn plan(
    shape: &Shape,
    tables: &BTreeMap<u32, ChangedTable>,
    compiler: &Compiler<'_>,
) -> Result<Plan, Refusal> {
    let tables = tables
        .iter()
        .map(|(oid, table)| {
            (
                qualified(&table.relation),
                compiler.strategy(*oid).to_owned(),
            )
        })
        .collect();
    let mut clauses = Vec::new();
    for block in &shape.blocks {
        for condition in &block.conditions {
            let column = |position| {
                let (scan, column) = block.origin(position);
                format!(
                    "{}.{}",
                    block.scans[scan].name, block.scans[scan].columns[column].name
                )
            };
            clauses.push((
                sql(condition, &column),
                "linear: applied to changes as to rows".to_owned(),
            ));
        }
    }
    clauses.extend(grouping_clauses(shape, compiler)?);
    Ok(Plan {
        tables,
        clauses,
        lookups: Vec::new(),
    })
}

fn grouping_clauses(
    shape: &Shape,
    compiler: &Compiler<'_>,
) -> Result<Vec<(String, String)>, Refusal> {
    let Some(grouping) = &shape.grouping else {
        return Ok(Vec::new());
    };
    let kept = if compiler.state_table()?.is_some() {
        "counts and sums per group, kept in a state table"
    } else {
        "counts and sums per group, kept in the rows themselves"
    };
    let aggregates = grouping.aggregates.iter().map(|aggregate| {
        (
            format!("{:?}", aggregate.function).to_lowercase(),
            groups::how(aggregate).to_owned(),
        )
    });
    Ok([("GROUP BY or DISTINCT".to_owned(), kept.to_owned())]
        .into_iter()
        .chain(aggregates)
        .collect())
}
