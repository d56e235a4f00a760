//! Groupings with sums of floating-point numbers: groups that changes touch are computed anew from all their rows, and the
//! materialized view's rows are found by the keys of the groups.
//!
//! The query itself has several values for such a sum, one for each order in which the numbers may be added. Stored rows can't be
//! found by a value that the query might have had, and adding differences would let errors grow from refresh to refresh. A group
//! computed anew has a value that the query can give, and so has one that no change touched, as its rows are the same ones.

use std::collections::{BTreeMap, BTreeSet};

use super::super::foreseen::foreseen;
use super::super::logs::{Changed, ChangedTable, changed_tables};
use super::super::names::Names;
use super::super::print::sql;
use super::super::program::{FastRefresh, Grouping, Plan, Target, grouping};
use super::super::rows::KeyedRows;
use super::super::statement::assembled;
use super::super::stored::{same_key, shown_keys};
use super::super::terms::qualified;
use super::super::tolerance::tolerance;
use super::super::variants::variants;
use super::lookups::Lookups;
use super::node::{NodeKind, NodeRef, Nodes};
use super::program::{describe, net_changes, read_columns, refuse_line_ends};
use super::writer::{Writer, columns_of, in_parentheses, listed, where_clause};
use crate::definition::{AggregateCall, Expression, Operator, Query, Refusal};
use crate::sql::identifier;

/// The fast refresh of a query in which floating-point numbers are added up.
pub(in super::super) fn compile(query: &Query, target: &Target) -> Result<FastRefresh, Refusal> {
    refuse_line_ends(query)?;
    let (grouping, input) = root(query)?;
    let Some(shown) = shown_keys(&grouping) else {
        return Err(refusal(
            &grouping.aggregates,
            "rows can't be found by their groups, as not all that is grouped by is shown",
        ));
    };
    let mut nodes = Nodes::default();
    let groups = groups(&mut nodes, input, &grouping.keys, &grouping.aggregates)?;
    if !groups.reads(&|_| true) {
        return Err(Refusal::new("FROM", "there is no base table"));
    }
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
    let columns: Vec<String> = query.columns.iter().map(|name| identifier(name)).collect();
    let nullable = grouping.keys.iter().map(|key| key.is_nullable);
    let rows = KeyedRows {
        view: target.view_text(),
        columns: &columns,
        outputs: &grouping.outputs,
        key: shown.into_iter().zip(nullable).collect(),
        names: &names,
    };
    let statements = Statements {
        grouping: &grouping,
        groups: &groups,
        rows: &rows,
        tables: &tables,
    };
    let variants = variants(query, &tables, &|changed| statements.statement(changed))?;
    Ok(FastRefresh {
        statement: statements.statement(Changed::Any)?,
        variants,
        logs: tables.values().map(|table| table.log.clone()).collect(),
        logged: tables.values().map(ChangedTable::logged).collect(),
        states: Vec::new(),
        outputs: None,
        row_index: rows.index(),
        tolerance: tolerance(&grouping, input, &rows, &tables, &query.columns)?,
        reads_settings: !query.is_plain(),
        plan: plan(&groups, &tables),
    })
}

/// The grouping at the root, and what is grouped, if nothing but the outputs shows sums whose last digits are not certain.
fn root(query: &Query) -> Result<(Grouping, &Operator), Refusal> {
    let mut all = Vec::new();
    inexact(&query.root, &mut all);
    let elsewhere = || {
        refusal(
            &all,
            "it is not in the select list of the outermost GROUP BY",
        )
    };
    let (grouping, input) = grouping(&query.root).map_err(|_| elsewhere())?;
    if is_inexact(input) {
        return Err(elsewhere());
    }
    let mut conditions = grouping.conditions.iter();
    if conditions.any(|condition| grouping.is_inexact(condition)) {
        return Err(refusal(&all, "HAVING depends on it"));
    }
    Ok((grouping, input))
}

/// Whether floating-point numbers are added up in no order anywhere.
pub(in super::super) fn is_inexact(operator: &Operator) -> bool {
    let mut found = Vec::new();
    inexact(operator, &mut found);
    !found.is_empty()
}

fn inexact(operator: &Operator, found: &mut Vec<AggregateCall>) {
    if let Operator::Aggregate { aggregates, .. } = operator {
        found.extend(aggregates.iter().filter(|call| call.is_inexact()).cloned());
    }
    for input in operator.inputs() {
        inexact(input, found);
    }
}

/// Why such sums are not taken.
pub(in super::super) fn refusal(calls: &[AggregateCall], why: &str) -> Refusal {
    let inexact = calls.iter().find(|call| call.is_inexact());
    let word = inexact.map_or("sum", AggregateCall::word);
    Refusal::new(
        format!("{word}(…)"),
        format!(
            "{word} of floating-point numbers depends on the order of the rows, and {why}; cast to numeric, or add ORDER BY of what it is over"
        ),
    )
}

/// The node of a grouping with all its columns.
fn groups(
    nodes: &mut Nodes,
    input: &Operator,
    keys: &[Expression],
    aggregates: &[AggregateCall],
) -> Result<NodeRef, Refusal> {
    let operator = Operator::Aggregate {
        input: Box::new(input.clone()),
        keys: keys.to_vec(),
        aggregates: aggregates.to_vec(),
    };
    let all: Vec<usize> = (0..operator.width()).collect();
    nodes.exact(&operator, &all)
}

/// The query of all groups, and the names of its columns, quoted.
pub(in super::super) fn all_groups(
    input: &Operator,
    keys: &[Expression],
    aggregates: &[AggregateCall],
    weight: &str,
    tables: &BTreeMap<u32, ChangedTable>,
) -> Result<(String, Vec<String>), Refusal> {
    let groups = groups(&mut Nodes::default(), input, keys, aggregates)?;
    let mut writer = Writer::new(tables, weight, Changed::Any, &groups);
    let text = writer.now(&groups, None)?;
    if !writer.take_parts().is_empty() {
        return Err(Refusal::unknown("rows that are read in several steps"));
    }
    Ok((text, columns_of(&groups, "")))
}

/// What the statements of one fast refresh have in common.
struct Statements<'a> {
    grouping: &'a Grouping,
    groups: &'a NodeRef,
    rows: &'a KeyedRows<'a>,
    tables: &'a BTreeMap<u32, ChangedTable>,
}

impl Statements<'_> {
    /// The statement for changes of any tables, or of some only.
    fn statement(&self, changed: Changed<'_>) -> Result<String, Refusal> {
        let names = self.rows.names;
        let mut parts = Vec::new();
        parts.extend(foreseen(self.tables, changed));
        parts.extend(net_changes(self.tables, &names.weight, changed));
        let mut writer = Writer::new(self.tables, &names.weight, changed, self.groups);
        let target_rows = self.target_rows(&mut writer)?;
        parts.extend(writer.take_parts());
        parts.push(("target_rows AS".to_owned(), target_rows));
        parts.push((
            "found_rows AS MATERIALIZED".to_owned(),
            self.rows.found_rows(false),
        ));
        parts.extend(self.rows.apply());
        Ok(assembled(
            &parts,
            self.tables,
            changed,
            self.rows.updated(),
            &self.rows.missing(false),
            None,
        ))
    }

    /// The rows of touched groups as they are now, or that there are none.
    fn target_rows(&self, writer: &mut Writer<'_>) -> Result<String, Refusal> {
        let NodeKind::Aggregate { input, keys, .. } = &self.groups.kind else {
            return Err(Refusal::unknown("a grouping"));
        };
        let names = self.rows.names;
        let (touched, there) = (&names.touched, &names.there);
        let changes = writer.net_changes(input)?;
        let (now, from) = if *keys == 0 {
            let now = writer.now(self.groups, None)?;
            let changes = identifier(&changes);
            (
                now,
                format!("(SELECT WHERE EXISTS (SELECT FROM {changes}))"),
            )
        } else {
            let of = (0..*keys).map(|at| {
                let column = input.columns[at].clone();
                let is_nullable = column.facts.is_nullable;
                (identifier(&column.name), at, column, is_nullable)
            });
            let touched_keys = writer.keys_of(&changes, of);
            let now = writer.now(self.groups, Some(&touched_keys))?;
            (now, identifier(&touched_keys.part))
        };
        let now = identifier(&writer.part("groups_now", &now));
        let key_names: Vec<String> = (1..=*keys).map(|number| format!("key_{number}")).collect();
        let listed_columns = self.rows.columns.iter().enumerate().map(|(at, column)| {
            let key = self.rows.key.iter().position(|(output, _)| *output == at);
            match key {
                Some(key) => format!("{touched}.{} AS {column}", key_names[key]),
                None => format!("now.{column}"),
            }
        });
        let same = same_key(
            "now.",
            &self.rows.keys(),
            &format!("{touched}."),
            &key_names,
        );
        Ok(format!(
            "    -- touched groups, from all their rows as they are now, or that there are none\n    SELECT {}, coalesce(now.{there}, false) AS {there}\n    FROM {from} AS {touched}\n    LEFT JOIN {} AS now ON {same}",
            listed(listed_columns),
            super::super::print::indented(&in_parentheses(&self.shown(&now)), 1).trim_start(),
        ))
    }

    /// The materialized view's rows of the groups in a part.
    fn shown(&self, part: &str) -> String {
        let texts = columns_of(self.groups, "");
        let column = |at: usize| texts[at].clone();
        let outputs = self.grouping.outputs.iter().zip(self.rows.columns);
        let outputs = outputs.map(|(output, name)| format!("{} AS {name}", sql(output, &column)));
        let conditions = self.grouping.conditions.iter();
        let conditions: Vec<String> = conditions
            .map(|condition| sql(condition, &column))
            .collect();
        format!(
            "SELECT {}, true AS {}\nFROM {part}{}",
            listed(outputs),
            self.rows.names.there,
            where_clause(&conditions)
        )
    }
}

fn plan(groups: &NodeRef, tables: &BTreeMap<u32, ChangedTable>) -> Plan {
    let lookups = Lookups::of(groups);
    let mut clauses = vec![(
        "sums of floating-point numbers".to_owned(),
        "groups that changed are computed anew from all their rows, nothing is added to what is stored; compared within the error of their rounding".to_owned(),
    )];
    for input in groups.inputs() {
        describe(input, &[], &mut clauses);
    }
    Plan {
        tables: tables
            .iter()
            .map(|(oid, table)| (qualified(&table.relation), lookups.strategy(*oid)))
            .collect(),
        clauses,
        lookups: lookups.all(),
    }
}
