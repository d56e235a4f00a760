//! The whole statement of the general strategy.

use std::collections::{BTreeMap, BTreeSet};

use super::super::bag;
use super::super::blocks::Block;
use super::super::logs::{ChangedTable, Reading, changed_tables};
use super::super::names::Names;
use super::super::program::{FastRefresh, Plan, Target};
use super::super::statement::{markers, whole};
use super::super::terms::qualified;
use super::node::Nodes;
use super::writer::{Writer, listed};
use crate::definition::{Expression, Query, Refusal};
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
    let mut writer = Writer::new(&tables, &names.weight);
    let changes = writer.delta(&root)?;
    let columns: Vec<String> = query.columns.iter().map(|name| identifier(name)).collect();
    let outputs: Vec<Expression> = root
        .columns
        .iter()
        .map(|column| column.facts.clone())
        .collect();
    let renamed: Vec<String> = root
        .columns
        .iter()
        .zip(&columns)
        .map(|(column, name)| format!("{} AS {name}", identifier(&column.name)))
        .collect();
    let mut parts: Vec<(String, String)> = tables
        .values()
        .map(|table| {
            (
                format!("{} AS MATERIALIZED", identifier(&table.changes)),
                table.net_changes(&names.weight, Reading::All),
            )
        })
        .collect();
    parts.extend(writer.into_parts());
    parts.push((
        "row_changes AS".to_owned(),
        format!(
            "    -- difference of the query's rows\n    SELECT {}\n    FROM {}",
            listed(renamed.into_iter().chain([identifier(&names.weight)])),
            identifier(&changes)
        ),
    ));
    parts.push((
        "net_rows AS".to_owned(),
        bag::net_rows(&outputs, &columns, &names, "row_changes")?,
    ));
    parts.extend(bag::apply(&outputs, &columns, &names, target));
    let last = format!(
        "-- a log that says: something happened that is not in it\n       {} AS must_complete",
        markers(&tables)
    );
    Ok(FastRefresh {
        statement: whole(&parts, "0::int8", &bag::missing(&names), &last),
        variants: Vec::new(),
        logged: tables.values().map(ChangedTable::logged).collect(),
        state: None,
        row_index: Some(format!(
            "CREATE INDEX ON {} (({}));",
            target.view_text(),
            bag::row_hash(&outputs, &columns, "")
        )),
        plan: plan(&tables),
    })
}

/// Refuses names with a line's end in them, which would not survive the indentation of the statement's text.
fn refuse_line_ends(query: &Query) -> Result<(), Refusal> {
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
fn read_columns(nodes: &Nodes) -> Vec<Block> {
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

fn plan(tables: &BTreeMap<u32, ChangedTable>) -> Plan {
    let strategy = "its changes are brought up through the operators of the query";
    Plan {
        tables: tables
            .values()
            .map(|table| (qualified(&table.relation), strategy.to_owned()))
            .collect(),
        clauses: Vec::new(),
    }
}
