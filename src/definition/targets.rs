//! The select list, grouped or not.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ResTarget};

use super::answers::{asked, reading};
use super::dependent::itself;
use super::grouping::Keys;
use super::nodes::{content, required};
use super::ordering::sorted;
use super::read_expression::Place;
use super::read_select::{Outputs, Reader};
use super::scope::Scope;
use super::subqueries::Pending;
use super::window_clauses::Windows;
use super::windows::Noted;
use super::{AggregateCall, Expression, Kind, Operator, Refusal};

/// What a SELECT computes of its rows, clause by clause.
pub(super) struct Clauses<'a> {
    pub(super) targets: &'a [Node],
    pub(super) groups: &'a [Node],
    pub(super) is_group_distinct: bool,
    pub(super) having: Option<&'a Node>,
    pub(super) windows: &'a [Node],
    /// The list of DISTINCT ON.
    pub(super) on: &'a [Node],
    /// ORDER BY, where it matters.
    pub(super) order: &'a [Node],
}

/// The rows that a SELECT computes, before DISTINCT and LIMIT.
pub(super) struct Computed {
    /// A projection: the select list, and what else there is to order by.
    pub(super) root: Operator,
    /// The select list.
    pub(super) outputs: Outputs,
    /// Where the columns of DISTINCT ON are.
    pub(super) on: Vec<usize>,
    /// Where those of ORDER BY are, with the direction as written.
    pub(super) order: Vec<(usize, String)>,
}

/// What the clauses of a SELECT say, before it is brought into operators.
struct Read {
    outputs: Outputs,
    /// The select list, then what else there is to order by.
    computed: Vec<Expression>,
    on: Vec<usize>,
    order: Vec<(usize, String)>,
    having: Option<Expression>,
    keys: Keys,
    aggregates: Vec<AggregateCall>,
    groupings: Vec<Vec<Expression>>,
    calls: Vec<Noted>,
    pending: Vec<Pending>,
}

impl Reader<'_> {
    /// Computes the select list over FROM and WHERE, in groups if there are any.
    pub(super) fn targets(
        &self,
        input: Operator,
        scope: &Scope,
        clauses: &Clauses<'_>,
    ) -> Result<Computed, Refusal> {
        let mut read = self.clauses(scope, clauses)?;
        let is_grouped =
            !clauses.groups.is_empty() || !read.aggregates.is_empty() || read.having.is_some();
        let (mut root, answers) = if is_grouped {
            self.in_groups(input, &mut read)?
        } else {
            self.all_answered(input, &read.pending)?
        };
        let answer = |value: &Expression| reading(value, &answers);
        let mut computed: Vec<Expression> = read.computed.iter().map(answer).collect();
        if let Some(condition) = &read.having {
            root = Operator::Filter {
                input: Box::new(root),
                condition: answer(condition),
            };
        }
        if !read.calls.is_empty() {
            let calls = read.calls.iter();
            let calls: Vec<Noted> = calls
                .map(|noted| noted.moved(&mut |value| answer(value)))
                .collect();
            let values;
            (root, values) = self.windowed(root, &calls, &computed.iter().collect::<Vec<_>>())?;
            let windowed = |value: &Expression| {
                value.rewritten(&mut |part| match part.kind {
                    Kind::Window(number) => values.get(number).cloned(),
                    _ => None,
                })
            };
            computed = computed.iter().map(windowed).collect();
        }
        let mut outputs = read.outputs;
        for ((_, output), value) in outputs.iter_mut().zip(&computed) {
            output.clone_from(value);
        }
        Ok(Computed {
            root: Operator::Project {
                input: Box::new(root),
                outputs: computed,
            },
            outputs,
            on: read.on,
            order: read.order,
        })
    }

    fn clauses(&self, scope: &Scope, clauses: &Clauses<'_>) -> Result<Read, Refusal> {
        let mut aggregates = Vec::new();
        let mut pending = Vec::new();
        let mut groupings = Vec::new();
        let mut windows = Windows::new(clauses.windows);
        let mut place = Place {
            scope,
            aggregates: Some(&mut aggregates),
            subqueries: Some(&mut pending),
            windows: Some(&mut windows),
            groupings: Some(&mut groupings),
            is_condition: false,
        };
        let outputs = clauses
            .targets
            .iter()
            .map(|target| self.target(target, &mut place))
            .collect::<Result<Outputs, _>>()?;
        let mut computed: Vec<Expression> =
            outputs.iter().map(|(_, output)| output.clone()).collect();
        let mut sorted_by = |value: Expression| {
            let known = computed.iter().position(|other| *other == value);
            known.unwrap_or_else(|| {
                computed.push(value);
                computed.len() - 1
            })
        };
        let mut on = Vec::new();
        for key in clauses.on {
            on.push(sorted_by(self.sort_value(key, &outputs, &mut place)?));
        }
        let mut order = Vec::new();
        for key in clauses.order {
            let (value, direction) = sorted(key)?;
            let value = self.sort_value(value, &outputs, &mut place)?;
            order.push((sorted_by(value), direction));
        }
        place.windows = None;
        place.is_condition = true;
        let having = clauses.having.map(|having| self.read(having, &mut place));
        let having = having.transpose()?;
        let is_distinct = clauses.is_group_distinct;
        let keys = self.group_keys(clauses.groups, is_distinct, &outputs, &mut place)?;
        let calls = windows.calls;
        if !calls.is_empty() && pending.iter().any(|one| matches!(one, Pending::Set(_))) {
            return Err(Refusal::unknown(
                "window functions beside functions that give sets",
            ));
        }
        Ok(Read {
            outputs,
            computed,
            on,
            order,
            having,
            keys,
            aggregates,
            groupings,
            calls,
            pending,
        })
    }

    /// Groups rows, and lets what is computed of groups read them; gives the groups with the answers of subqueries.
    fn in_groups(
        &self,
        input: Operator,
        read: &mut Read,
    ) -> Result<(Operator, Vec<Expression>), Refusal> {
        let of_calls = read.calls.iter().flat_map(Noted::expressions);
        let computed = read.computed.iter().chain(&read.having).chain(of_calls);
        read.keys.add_dependent_columns(computed);
        let (keys, pending) = (&read.keys, &read.pending);
        for key in &keys.all {
            self.require_identity(key, "GROUP BY")?;
        }
        let count = read.aggregates.len();
        let over_groups = |value: &Expression| keys.over_groups(value, count);
        read.computed = read.computed.iter().map(over_groups).collect();
        read.having = read.having.as_ref().map(over_groups);
        let calls = read.calls.iter();
        read.calls = calls
            .map(|noted| noted.moved(&mut |value| over_groups(value)))
            .collect();
        // subqueries that keys and aggregates read are asked of the rows, the others of the groups
        let of_rows = read.aggregates.iter().flat_map(AggregateCall::expressions);
        let of_rows = asked(of_rows.chain(&keys.all));
        let of_calls = read.calls.iter().flat_map(Noted::expressions);
        let of_groups = asked(read.computed.iter().chain(&read.having).chain(of_calls));
        let (rows, answers) = self.answered(input, pending, &of_rows, &itself)?;
        let answer = |value: &Expression| reading(value, &answers);
        let aggregates = read.aggregates.iter();
        let aggregates = aggregates.map(|call| call.moved(&mut |value| answer(value)));
        let aggregates: Vec<AggregateCall> = aggregates.collect();
        let mut by_answers = keys.clone();
        by_answers.reading(&answer);
        self.require_orders(&rows, &by_answers.in_all_sets(), &aggregates)?;
        let groups = by_answers.grouped(rows, aggregates, &read.groupings, keys)?;
        self.answered(groups, pending, &of_groups, &|value| {
            if keys.cover(value) {
                return Ok(over_groups(value));
            }
            Err(Refusal::unknown(
                "a subquery that depends on a column that is not grouped by",
            ))
        })
    }

    fn target(
        &self,
        target: &Node,
        place: &mut Place<'_>,
    ) -> Result<(String, Expression), Refusal> {
        let NodeEnum::ResTarget(target) = content(target)? else {
            return Err(Refusal::unknown("this in the select list"));
        };
        let ResTarget {
            name,
            indirection,
            val,
            location: _,
        } = &**target;
        if !indirection.is_empty() {
            return Err(Refusal::unknown("this in the select list"));
        }
        let value = required(val.as_deref())?;
        // pg_get_viewdef leaves the name out where the expression is a column of that name
        let name = match content(value)? {
            NodeEnum::ColumnRef(column) if name.is_empty() => super::nodes::names(&column.fields)?
                .last()
                .map_or("", |name| name)
                .to_owned(),
            _ => name.clone(),
        };
        place.is_condition = false;
        Ok((name, self.read(value, place)?))
    }

    /// Refuses an expression whose equal values may be different bytes: which of them stands for a group would depend on
    /// the order in which rows are read.
    pub(super) fn require_identity(
        &self,
        expression: &Expression,
        clause: &str,
    ) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal::new(clause, reason));
        if expression.data_type.is("numeric") {
            return match expression.scale {
                Some(_) => Ok(()),
                None => refuse(
                    "equal values of numeric may differ in their digits (1.0 and 1.00); cast to numeric(precision, scale)".to_owned(),
                ),
            };
        }
        if expression.data_type.is("bpchar") && expression.scale.is_none() {
            return refuse(
                "equal values of char may differ in the blanks at their ends; cast to char(n)"
                    .to_owned(),
            );
        }
        if !expression.data_type.is("bpchar")
            && !self.catalog.equality_is_identity(&expression.data_type)
        {
            return refuse(format!(
                "values of type {} may be equal and not the same",
                expression.data_type
            ));
        }
        match &expression.collation {
            Some(collation) if self.catalog.nondeterministic_collations.contains(collation) => {
                refuse(format!(
                    "strings may be equal and not the same under collation {collation}"
                ))
            }
            None if expression.data_type.is_collatable() => {
                refuse("the collation can't be told; add COLLATE".to_owned())
            }
            _ => Ok(()),
        }
    }
}
