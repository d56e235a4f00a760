//! The whole statement of the general strategy.

use std::collections::{BTreeMap, BTreeSet};

use super::super::bag;
use super::super::blocks::Block;
use super::super::foreseen::foreseen;
use super::super::logs::{Changed, ChangedTable, changed_tables};
use super::super::names::Names;
use super::super::program::{FastRefresh, Lookup, Plan, Target};
use super::super::statement::assembled;
use super::super::terms::qualified;
use super::super::variants::variants;
use super::kept::{self, Kept};
use super::lookups::Lookups;
use super::node::{Call, NodeKind, NodeRef, Nodes};
use super::writer::{Writer, in_parentheses, listed};
use crate::definition::{AggregateFunction, Expression, Query, Refusal};
use crate::sql::identifier;

/// Compiles the fast refresh of any query whose operators are known.
pub(in super::super) fn compile(query: &Query, target: &Target) -> Result<FastRefresh, Refusal> {
    if query.columns.is_empty() {
        return Err(Refusal::new("SELECT", "there are no columns"));
    }
    let mut nodes = Nodes::default();
    refuse_line_ends(query)?;
    let all: Vec<usize> = (0..query.columns.len()).collect();
    let root = nodes.exact(&query.root, &all)?;
    if !root.reads(&|_| true) {
        return Err(Refusal::new("FROM", "there is no base table"));
    }
    let to_keep = nodes.all_to_keep(&root);
    let tables = changed_tables(&read_columns(&nodes), target)?;
    let taken: BTreeSet<&str> = query
        .columns
        .iter()
        .map(String::as_str)
        .chain(nodes.column_names())
        .chain(tables.values().flat_map(|table| {
            let columns = table.relation.columns.iter();
            columns
                .map(|column| column.name.as_str())
                .chain([table.relation.name.as_str()])
        }))
        .collect();
    let names = Names::outside(&taken);
    let kept = to_keep.iter().zip(1..);
    let kept = kept.map(|(keep, number)| keep.in_table(number, &names, target));
    let kept: Vec<Kept<'_>> = kept.collect();
    let statements = Statements {
        root: &root,
        kept: &kept,
        tables: &tables,
        names: &names,
        target,
        columns: query.columns.iter().map(|name| identifier(name)).collect(),
        outputs: root
            .columns
            .iter()
            .map(|column| column.facts.clone())
            .collect(),
    };
    let variants = variants(query, &tables, &|changed| statements.statement(changed))?;
    Ok(FastRefresh {
        statement: statements.statement(Changed::Any)?,
        variants,
        logs: tables.values().map(|table| table.log.clone()).collect(),
        logged: tables.values().map(ChangedTable::logged).collect(),
        states: kept::state_tables(&kept, &tables, &root)?,
        outputs: statements.outputs_of_states()?,
        row_index: Some(format!(
            "CREATE INDEX ON {} (({}));",
            target.view_text(),
            bag::row_hash(&statements.outputs, &statements.columns, "")
        )),
        tolerance: None,
        reads_settings: !query.is_plain(),
        plan: plan(&root, &tables, &kept),
    })
}

/// What the statements of one fast refresh have in common.
struct Statements<'a> {
    root: &'a NodeRef,
    kept: &'a [Kept<'a>],
    tables: &'a BTreeMap<u32, ChangedTable>,
    names: &'a Names,
    target: &'a Target,
    /// The materialized view's columns, quoted.
    columns: Vec<String>,
    outputs: Vec<Expression>,
}

impl Statements<'_> {
    /// The root's columns, called as the materialized view's.
    fn renamed(&self) -> impl Iterator<Item = String> {
        let columns = self.root.columns.iter().zip(&self.columns);
        columns.map(|(column, name)| format!("{} AS {name}", identifier(&column.name)))
    }

    /// The query's rows, told from the rows of all state tables, if there are any.
    fn outputs_of_states(&self) -> Result<Option<String>, Refusal> {
        if self.kept.is_empty() {
            return Ok(None);
        }
        let mut writer = kept::fresh(self.kept, &self.names.weight, self.tables, self.root);
        let rows = in_parentheses(&writer.now(self.root, None)?);
        if !writer.take_parts().is_empty() {
            return Err(Refusal::unknown("rows that are read in several steps"));
        }
        Ok(Some(format!(
            "SELECT {}\nFROM {rows} AS all_rows",
            listed(self.renamed())
        )))
    }

    /// The statement for changes of any tables, or of some only.
    fn statement(&self, changed: Changed<'_>) -> Result<String, Refusal> {
        let weight = &self.names.weight;
        let mut parts = Vec::new();
        parts.extend(foreseen(self.tables, changed));
        parts.extend(net_changes(self.tables, weight, changed));
        let mut writer = Writer::new(self.tables, weight, changed, self.root).keeping(self.kept);
        let difference = writer.delta(self.root)?;
        parts.extend(writer.take_parts());
        let missing = format!("{}{}", bag::missing(self.names), writer.missing);
        let renamed = self.renamed();
        parts.push((
            "row_changes AS".to_owned(),
            format!(
                "    -- difference of the query's rows\n    SELECT {}\n    FROM {}",
                listed(renamed.chain([identifier(weight)])),
                identifier(&difference)
            ),
        ));
        parts.push((
            "net_rows AS".to_owned(),
            bag::net_rows(&self.outputs, &self.columns, self.names, "row_changes")?,
        ));
        parts.extend(bag::apply(
            &self.outputs,
            &self.columns,
            self.names,
            self.target,
        ));
        Ok(assembled(
            &parts,
            self.tables,
            changed,
            "0::int8",
            &missing,
            None,
        ))
    }
}

/// The parts with the changes of base tables, same images added up.
pub(super) fn net_changes(
    tables: &BTreeMap<u32, ChangedTable>,
    weight: &str,
    changed: Changed<'_>,
) -> Vec<(String, String)> {
    let tables = tables.iter().filter(|(oid, _)| changed.may(**oid));
    let parts = tables.map(|(_, table)| {
        (
            format!("{} AS MATERIALIZED", identifier(&table.changes)),
            table.net_changes(weight, changed.reading()),
        )
    });
    parts.collect()
}

/// Refuses names with a line's end in them, which would not survive the indentation of the statement's text.
pub(super) fn refuse_line_ends(query: &Query) -> Result<(), Refusal> {
    let mut names: Vec<&str> = query.columns.iter().map(String::as_str).collect();
    for relation in query.root.relations() {
        names.extend([relation.schema.as_str(), relation.name.as_str()]);
        names.extend(relation.columns.iter().map(|column| column.name.as_str()));
    }
    match names.into_iter().find(|name| name.contains(['\n', '\r'])) {
        Some(name) => Err(Refusal::new(
            format!("the name {name:?}"),
            "there is a line's end in it",
        )),
        None => Ok(()),
    }
}

/// What is read of the base tables.
pub(super) fn read_columns(nodes: &Nodes) -> Vec<Block> {
    nodes
        .scans()
        .map(|(relation, columns)| {
            let facts = relation.column_expressions();
            Block {
                scans: vec![relation.clone()],
                conditions: Vec::new(),
                outputs: columns.iter().map(|at| facts[*at].clone()).collect(),
            }
        })
        .collect()
}

/// What the refresh of a query looks up in base tables if its groups, if it has any at its root, are kept in a state table.
pub(in super::super) fn lookups(query: &Query) -> Result<Vec<Lookup>, Refusal> {
    let mut nodes = Nodes::default();
    let all: Vec<usize> = (0..query.columns.len()).collect();
    let root = nodes.exact(&query.root, &all)?;
    Ok(Lookups::of(kept_apart(&root)).all())
}

/// What stands below a grouping whose counts and sums are kept. Extrema are computed anew now and then.
fn kept_apart(root: &NodeRef) -> &NodeRef {
    match &root.kind {
        NodeKind::Block { items, .. } => match &items[..] {
            [item] if matches!(item.kind, NodeKind::Aggregate { .. }) => kept_apart(item),
            _ => root,
        },
        NodeKind::Aggregate { input, calls, .. } => {
            let is_extremum = |call: &Call| {
                matches!(
                    call.aggregate.function,
                    AggregateFunction::Min | AggregateFunction::Max
                )
            };
            if calls.iter().any(is_extremum) {
                root
            } else {
                input
            }
        }
        _ => root,
    }
}

fn plan(root: &NodeRef, tables: &BTreeMap<u32, ChangedTable>, kept: &[Kept<'_>]) -> Plan {
    let lookups = Lookups::of(root);
    let mut clauses = Vec::new();
    if !kept.is_empty() {
        clauses.push((
            "GROUP BY below what reads all groups".to_owned(),
            "counts and sums per group, kept in a state table".to_owned(),
        ));
    }
    describe(root, kept, &mut clauses);
    Plan {
        tables: tables
            .iter()
            .map(|(oid, table)| (qualified(&table.relation), lookups.strategy(*oid)))
            .collect(),
        clauses,
        lookups: lookups.all(),
    }
}

/// How the operators of a tree are maintained, in words.
pub(super) fn describe(node: &NodeRef, kept: &[Kept<'_>], clauses: &mut Vec<(String, String)>) {
    describe_once(node, kept, clauses, &mut BTreeSet::new());
}

fn describe_once(
    node: &NodeRef,
    kept: &[Kept<'_>],
    clauses: &mut Vec<(String, String)>,
    visited: &mut BTreeSet<usize>,
) {
    const PARTNERS: &str =
        "rows that get a first partner or lose the last one are found by counting partners";
    if !visited.insert(node.id) {
        return;
    }
    let described = match &node.kind {
        NodeKind::Scan { .. }
        | NodeKind::Values(_)
        | NodeKind::Block { .. }
        | NodeKind::Repeat { .. } => None,
        NodeKind::Union(_) => Some(("UNION ALL", "the changes of all parts are taken together")),
        NodeKind::Outer { is_full, .. } => {
            Some((if *is_full { "FULL JOIN" } else { "LEFT JOIN" }, PARTNERS))
        }
        NodeKind::Unfold { .. } => Some((
            "functions that give sets",
            "computed of the rows that changed, as they were and as they are",
        )),
        NodeKind::Match { .. } => Some(("EXISTS, IN or the like", PARTNERS)),
        NodeKind::Window { .. } => Some((
            "window functions",
            "partitions that changed are computed as they are and as they were",
        )),
        NodeKind::First { keys, .. } if keys.is_empty() => Some((
            "LIMIT",
            "the first rows are read as they are; from them and the changes follows which they were",
        )),
        NodeKind::First { .. } => Some((
            "DISTINCT ON",
            "the rows of values that changed are sought as they are and as they were",
        )),
        NodeKind::Aggregate { .. } if kept.iter().any(|kept| kept.is_of(node)) => None,
        NodeKind::Aggregate { keys: 0, .. } => Some((
            "aggregates without GROUP BY",
            "computed from all rows as they are and as they were, whenever one of them changes",
        )),
        NodeKind::Aggregate { calls, .. } if calls.is_empty() => Some((
            "DISTINCT",
            "rows that changed are sought as they are and as they were",
        )),
        NodeKind::Aggregate { .. } => Some((
            "GROUP BY",
            "groups that changed are computed as they are and as they were",
        )),
    };
    if let Some((clause, how)) = described {
        let clause = (clause.to_owned(), how.to_owned());
        if !clauses.contains(&clause) {
            clauses.push(clause);
        }
    }
    for input in node.inputs() {
        describe_once(input, kept, clauses, visited);
    }
}
