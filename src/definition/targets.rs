//! The select list, grouped or not.

use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, Node, ResTarget, a_const};

use super::nodes::{content, kind_of, required};
use super::read_expression::Place;
use super::read_select::{Outputs, Reader};
use super::scope::Scope;
use super::subqueries::{answered, reading};
use super::{Expression, Kind, Operator, Refusal};

impl Reader<'_> {
    /// Computes the select list over FROM and WHERE, in groups if there are any.
    pub(super) fn targets(
        &self,
        input: Operator,
        scope: &Scope,
        targets: &[Node],
        groups: &[Node],
        having: Option<&Node>,
    ) -> Result<(Operator, Outputs), Refusal> {
        let mut aggregates = Vec::new();
        let mut pending = Vec::new();
        let mut place = Place {
            scope,
            aggregates: Some(&mut aggregates),
            subqueries: Some(&mut pending),
            is_condition: false,
        };
        let mut outputs = targets
            .iter()
            .map(|target| self.target(target, &mut place))
            .collect::<Result<Outputs, _>>()?;
        place.is_condition = true;
        let having = having
            .map(|having| self.read(having, &mut place))
            .transpose()?;
        if groups.is_empty() && aggregates.is_empty() && having.is_none() {
            let (input, answers) = answered(input, pending, &|value| Ok(value.clone()))?;
            for (_, output) in &mut outputs {
                *output = reading(output, &answers);
            }
            let root = project(input, &outputs);
            return Ok((root, outputs));
        }
        let mut keys = Vec::new();
        for group in groups {
            keys.push(self.group_key(group, scope, &outputs)?);
        }
        let computed = outputs.iter().map(|(_, output)| output).chain(&having);
        add_dependent_columns(computed, &mut keys);
        for key in &keys {
            if key.any(&mut |part| matches!(part.kind, Kind::Subquery(_))) {
                return Err(Refusal::unknown("a subquery or a set in GROUP BY"));
            }
            self.require_identity(key, "GROUP BY")?;
        }
        let over_groups = |expression: &Expression| over_groups(expression, &keys);
        outputs = outputs
            .iter()
            .map(|(name, output)| (name.clone(), over_groups(output)))
            .collect();
        let having = having.as_ref().map(over_groups);
        let root = Operator::Aggregate {
            input: Box::new(input),
            keys: keys.clone(),
            aggregates,
        };
        let (mut root, answers) = answered(root, pending, &|value| {
            if is_over_groups(value, &keys) {
                return Ok(over_groups(value));
            }
            Err(Refusal::unknown(
                "a subquery that depends on a column that is not grouped by",
            ))
        })?;
        for (_, output) in &mut outputs {
            *output = reading(output, &answers);
        }
        let having = having.map(|having| reading(&having, &answers));
        if let Some(condition) = having {
            root = Operator::Filter {
                input: Box::new(root),
                condition,
            };
        }
        Ok((project(root, &outputs), outputs))
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

    fn group_key(
        &self,
        group: &Node,
        scope: &Scope,
        outputs: &Outputs,
    ) -> Result<Expression, Refusal> {
        match content(group)? {
            // a bare number is a position in the select list
            NodeEnum::AConst(AConst {
                val: Some(a_const::Val::Ival(number)),
                ..
            }) => usize::try_from(number.ival - 1)
                .ok()
                .and_then(|position| outputs.get(position))
                .map(|(_, output)| output.clone())
                .ok_or_else(|| Refusal::unknown("this position in GROUP BY")),
            other @ NodeEnum::GroupingSet(_) => Err(Refusal::unknown(kind_of(other))),
            _ => self.expression(group, scope),
        }
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

fn project(input: Operator, outputs: &Outputs) -> Operator {
    Operator::Project {
        input: Box::new(input),
        outputs: outputs.iter().map(|(_, output)| output.clone()).collect(),
    }
}

// PostgreSQL accepts columns outside GROUP BY only if they depend on a primary key in it. As further keys they leave the
// groups as they are.
fn add_dependent_columns<'a>(
    computed: impl Iterator<Item = &'a Expression>,
    keys: &mut Vec<Expression>,
) {
    for expression in computed {
        let _ = expression.rewritten(&mut |part| {
            if keys.contains(part) {
                return Some(part.clone());
            }
            if matches!(part.kind, Kind::Column(_)) {
                keys.push(part.clone());
            }
            None
        });
    }
}

fn over_groups(expression: &Expression, keys: &[Expression]) -> Expression {
    expression.rewritten(&mut |part| {
        if let Some(position) = keys.iter().position(|key| key == part) {
            return Some(part.as_column(position));
        }
        match part.kind {
            Kind::Aggregate(position) => Some(part.as_column(keys.len() + position)),
            _ => None,
        }
    })
}

/// Whether an expression has no columns but in keys.
fn is_over_groups(expression: &Expression, keys: &[Expression]) -> bool {
    let rest = expression.rewritten(&mut |part| {
        keys.contains(part).then(|| Expression {
            kind: Kind::Literal(String::new()),
            ..part.clone()
        })
    });
    rest.columns().is_empty()
}
