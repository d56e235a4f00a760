//! Window functions: read, checked for values that do not depend on the order of reading, and brought into operators.

use std::collections::BTreeSet;

use pg_query::protobuf::{FuncCall, WindowDef};

use super::nodes::qualified;
use super::ordering::sorted;
use super::read_expression::Place;
use super::read_select::Reader;
use super::uniqueness::determine;
use super::window_clauses::Windows;
use super::{
    AggregateCall, AggregateFunction, Expression, Kind, Operator, OtherAggregate, Refusal,
    TypeName, WindowCall,
};

/// What is none but a window function where OVER follows.
const FUNCTIONS: &[&str] = &[
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

/// A window function with its window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Noted {
    pub(super) keys: Vec<Expression>,
    pub(super) call: WindowCall,
    needs: Needs,
}

/// What must be so for a value not to depend on the order in which rows are read.
#[derive(Debug, Clone, PartialEq)]
enum Needs {
    /// Nothing: rows that ORDER BY takes for equal are treated alike.
    Nothing,
    /// This is the same for rows that ORDER BY takes for equal.
    Equal(Expression),
    /// No two rows are equal for ORDER BY, or they are the same.
    Total,
}

impl Noted {
    /// The same over other values.
    pub(super) fn moved(&self, to: &mut impl FnMut(&Expression) -> Expression) -> Self {
        Self {
            keys: self.keys.iter().map(&mut *to).collect(),
            call: self.call.moved(to),
            needs: match &self.needs {
                Needs::Equal(value) => Needs::Equal(to(value)),
                other => other.clone(),
            },
        }
    }

    /// What it reads.
    pub(super) fn expressions(&self) -> Vec<&Expression> {
        self.keys.iter().chain(self.call.expressions()).collect()
    }
}

impl Reader<'_> {
    /// Reads a window function; notes it once however often it is written.
    pub(super) fn window_call(
        &self,
        call: &FuncCall,
        over: &WindowDef,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let (schema, name) = qualified(&call.funcname)?;
        let clause = format!("{name}() OVER");
        let Some(windows) = place.windows.take() else {
            return Err(Refusal::unknown(format!("{clause} in this place")));
        };
        let noted = self.noted(call, over, &schema, &name, windows, place);
        place.windows = Some(windows);
        let noted = noted?;
        let windows = place.windows.as_deref_mut();
        let calls = &mut windows.ok_or_else(|| Refusal::unknown(clause))?.calls;
        let position = calls.iter().position(|other| *other == noted);
        let value = noted.call.value.clone();
        let position = position.unwrap_or_else(|| {
            calls.push(noted);
            calls.len() - 1
        });
        Ok(Expression {
            kind: Kind::Window(position),
            ..value
        })
    }

    fn noted(
        &self,
        call: &FuncCall,
        over: &WindowDef,
        schema: &str,
        name: &str,
        windows: &Windows,
        place: &mut Place<'_>,
    ) -> Result<Noted, Refusal> {
        let window = windows.over(over)?;
        let clause = format!("{name}() OVER");
        let mut keys = Vec::new();
        for key in window.keys {
            let key = self.read(key, place)?;
            self.require_identity(&key, "PARTITION BY")?;
            keys.push(key);
        }
        if keys.iter().all(is_constant) {
            return Err(Refusal::new(
                clause,
                "without PARTITION BY any change may change the values of all rows",
            ));
        }
        let mut order = Vec::new();
        for key in window.order {
            let (value, direction) = sorted(key)?;
            let value = self.read(value, place)?;
            self.require_sorted(&value)?;
            order.push((value, direction));
        }
        let frame = window.frame.words(self, &order)?;
        let by_rows = window.frame.is_by_rows();
        let filter = self.filter_of(call.agg_filter.as_deref(), place)?;
        let is_odd = call.agg_distinct
            || call.agg_within_group
            || call.func_variadic
            || !call.agg_order.is_empty()
            || schema != "pg_catalog";
        if is_odd {
            return Err(Refusal::unknown(clause));
        }
        let mut arguments = Vec::new();
        for argument in &call.args {
            arguments.push(self.read(argument, place)?);
        }
        // some of their names are those of aggregates as well
        let is_aggregate = !FUNCTIONS.contains(&name) && self.is_aggregate(call)?;
        let (call, value, needs) = if is_aggregate {
            let call = self.aggregate_over(name, arguments, call.agg_star, filter)?;
            let value = Expression {
                // the frame may be empty
                is_nullable: true,
                ..call.value()
            };
            let needs = if by_rows {
                Needs::Total
            } else {
                Needs::Nothing
            };
            (call, value, needs)
        } else {
            function_over(name, arguments, by_rows)?
        };
        Ok(Noted {
            keys,
            call: WindowCall {
                call,
                order,
                frame,
                value,
            },
            needs,
        })
    }

    /// An aggregate over a frame: one whose value does not depend on the order in which it takes rows.
    fn aggregate_over(
        &self,
        name: &str,
        mut arguments: Vec<Expression>,
        is_star: bool,
        filter: Option<Expression>,
    ) -> Result<AggregateCall, Refusal> {
        if let Some(function) = AggregateFunction::named(name) {
            let argument = arguments.pop();
            let is_plain = arguments.is_empty() && argument.is_none() == is_star;
            if !is_plain || (is_star && function != AggregateFunction::Count) {
                return Err(Refusal::unknown(format!("{name}() OVER in this form")));
            }
            return Ok(AggregateCall {
                result: self.aggregate_result(function, name, argument.as_ref())?,
                function,
                argument,
                filter,
                other: None,
            });
        }
        let other = OtherAggregate {
            name: name.to_owned(),
            arguments,
            is_distinct: false,
            order: Vec::new(),
            is_within_group: false,
        };
        self.require_order(&other)?;
        Ok(AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            filter,
            result: self.other_result(&other)?,
            other: Some(other),
        })
    }

    /// The rows of an operator with the values of window functions behind them: windows over the same key together, then
    /// those over the next. `read` is what else is read of the rows.
    pub(super) fn windowed(
        &self,
        input: Operator,
        calls: &[Noted],
        read: &[&Expression],
    ) -> Result<(Operator, Vec<Expression>), Refusal> {
        self.require_one_value(&input, calls, read)?;
        let mut values = vec![None; calls.len()];
        let mut root = input;
        while let Some(first) = values.iter().position(Option::is_none) {
            let keys = calls[first].keys.clone();
            let mut of_keys = Vec::new();
            for (number, noted) in calls.iter().enumerate() {
                if values[number].is_none() && is_same_set(&noted.keys, &keys) {
                    let at = root.width() + of_keys.len();
                    values[number] = Some(noted.call.value.as_column(at));
                    of_keys.push(noted.call.clone());
                }
            }
            root = Operator::Window {
                input: Box::new(root),
                keys,
                calls: of_keys,
            };
        }
        Ok((root, values.into_iter().flatten().collect()))
    }

    /// Refuses functions whose value may depend on the order in which rows are read.
    fn require_one_value(
        &self,
        input: &Operator,
        calls: &[Noted],
        read: &[&Expression],
    ) -> Result<(), Refusal> {
        let everything = || {
            let of_calls = calls.iter().flat_map(Noted::expressions);
            read.iter().copied().chain(of_calls)
        };
        for noted in calls {
            let (same, equal) = self.fixed(noted);
            let is_fixed = |value: &Expression| {
                value.columns().iter().all(|at| same.contains(at))
                    || (noted.call.order.iter().any(|(other, _)| other == value)
                        && self.require_identity(value, "ORDER BY").is_ok())
            };
            // rows that are the same in all that is read may change places, but in all windows at once
            let is_alone = calls.iter().all(|other| {
                other.needs != Needs::Total
                    || (other.keys == noted.keys && other.call.order == noted.call.order)
            });
            let is_certain = match &noted.needs {
                Needs::Nothing => true,
                Needs::Equal(value) => is_fixed(value) || determine(input, &equal),
                Needs::Total => {
                    determine(input, &equal) || (is_alone && everything().all(is_fixed))
                }
            };
            if !is_certain {
                return Err(Refusal::new(
                    format!("{}() OVER", noted.call.call.word()),
                    "its value depends on the order in which rows are read that are equal for PARTITION BY and ORDER BY; order by a unique key, too",
                ));
            }
        }
        Ok(())
    }

    /// Columns that are the same bytes, and those that are equal, in rows that a window takes for equal.
    fn fixed(&self, noted: &Noted) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let order = noted.call.order.iter().map(|(value, _)| value);
        let (mut same, mut equal) = (BTreeSet::new(), BTreeSet::new());
        for value in noted.keys.iter().chain(order) {
            if let Kind::Column(at) = value.kind {
                equal.insert(at);
                if self.require_identity(value, "ORDER BY").is_ok() {
                    same.insert(at);
                }
            }
        }
        (same, equal)
    }
}

/// A function that is none but a window function.
fn function_over(
    name: &str,
    arguments: Vec<Expression>,
    by_rows: bool,
) -> Result<(AggregateCall, Expression, Needs), Refusal> {
    let clause = format!("{name}() OVER");
    let value_of = |argument: &Expression| Expression {
        is_nullable: true,
        ..argument.clone()
    };
    let built_in = |name: &str| {
        let mut value = Expression::new(Kind::Window(0), TypeName::built_in(name));
        value.is_nullable = false;
        value
    };
    let (value, needs) = match (name, &arguments[..]) {
        ("row_number", []) => (built_in("int8"), Needs::Total),
        ("ntile", [_]) => (
            Expression {
                is_nullable: true,
                ..built_in("int4")
            },
            Needs::Total,
        ),
        ("rank" | "dense_rank", []) => (built_in("int8"), Needs::Nothing),
        ("percent_rank" | "cume_dist", []) => (built_in("float8"), Needs::Nothing),
        ("lag" | "lead", [value] | [value, _]) => (value_of(value), Needs::Total),
        ("lag" | "lead", [value, _, other]) if value.data_type == other.data_type => {
            (value_of(&value.or(other)), Needs::Total)
        }
        ("first_value" | "last_value", [value]) | ("nth_value", [value, _]) => {
            let needs = if by_rows {
                Needs::Total
            } else {
                Needs::Equal(value.clone())
            };
            (value_of(value), needs)
        }
        _ => return Err(Refusal::unknown(clause)),
    };
    if value.data_type.is("unknown") {
        return Err(Refusal::unknown(clause));
    }
    let call = AggregateCall {
        function: AggregateFunction::Count,
        argument: None,
        filter: None,
        result: value.data_type.clone(),
        other: Some(OtherAggregate {
            name: name.to_owned(),
            arguments,
            is_distinct: false,
            order: Vec::new(),
            is_within_group: false,
        }),
    };
    Ok((call, value, needs))
}

/// Whether it is the same in all rows.
fn is_constant(value: &Expression) -> bool {
    value.columns().is_empty()
        && !value.any(&mut |part| {
            matches!(
                part.kind,
                Kind::Aggregate(_) | Kind::Grouping(_) | Kind::Subquery(_)
            )
        })
}

fn is_same_set(one: &[Expression], other: &[Expression]) -> bool {
    one.iter().all(|key| other.contains(key)) && other.iter().all(|key| one.contains(key))
}
