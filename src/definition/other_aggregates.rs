//! Aggregates that are computed anew for a group: those whose value does not depend on the order in which rows are read.

use pg_query::protobuf::FuncCall;

use super::nodes::qualified;
use super::ordering::sorted;
use super::read_expression::Place;
use super::read_select::Reader;
use super::settings::is_written;
use super::{
    AggregateCall, AggregateFunction, Expression, FunctionKind, Kind, OtherAggregate, Refusal,
    TypeName,
};
use crate::sql::identifier;

/// Types of exact numbers.
const EXACT: &[&str] = &["int2", "int4", "int8", "numeric"];

impl Reader<'_> {
    /// Reads an aggregate that only the general strategy knows.
    pub(super) fn other_aggregate(
        &self,
        call: &FuncCall,
        place: &mut Place<'_>,
    ) -> Result<AggregateCall, Refusal> {
        let (schema, name) = qualified(&call.funcname)?;
        let refuse = |reason: &str| Err(Refusal::new(format!("{name}(…)"), reason));
        if call.func_variadic || call.agg_star {
            return refuse("this version does not know this form of an aggregate");
        }
        let arguments = call
            .args
            .iter()
            .map(|argument| self.json_argument(call, argument, place))
            .collect::<Result<Vec<_>, _>>()?;
        let order = self.order_of(call, place)?;
        let filter = self.filter_of(call.agg_filter.as_deref(), place)?;
        let is_built_in = schema == "pg_catalog";
        let written = if is_built_in {
            name.clone()
        } else {
            format!("{}.{}", identifier(&schema), identifier(&name))
        };
        let other = OtherAggregate {
            name: written,
            arguments,
            is_distinct: call.agg_distinct,
            order,
            is_within_group: call.agg_within_group,
        };
        let result = if is_built_in && other.is_inexact() {
            sum_of_floats(&name, &other.arguments[0])
        } else if is_built_in {
            self.other_result(&other)?
        } else {
            self.result_of_users(&schema, &name, &other)?
        };
        Ok(AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            filter,
            result,
            other: Some(other),
        })
    }

    /// The ORDER BY of an aggregate.
    pub(super) fn order_of(
        &self,
        call: &FuncCall,
        place: &mut Place<'_>,
    ) -> Result<Vec<(Expression, String)>, Refusal> {
        let keys = call.agg_order.iter().map(|key| {
            let (value, direction) = sorted(key)?;
            Ok((self.read(value, place)?, direction))
        });
        keys.collect()
    }

    /// What an aggregate gives that users have made. It may depend on the order of rows.
    fn result_of_users(
        &self,
        schema: &str,
        name: &str,
        call: &OtherAggregate,
    ) -> Result<TypeName, Refusal> {
        let refuse = |reason: &str| Err(Refusal::new(format!("{name}(…)"), reason));
        let arguments = call.arguments.iter();
        let types = arguments.map(|argument| argument.data_type.clone());
        let key = (schema.to_owned(), name.to_owned(), types.collect());
        match self.catalog.functions.get(&key) {
            Some(fact) if fact.kind == FunctionKind::Aggregate && !call.is_within_group => {
                if !fact.is_immutable {
                    return refuse("the functions that it is made of are not all immutable");
                }
                Ok(fact.result.clone())
            }
            _ => refuse("this version does not know it with arguments of these types"),
        }
    }

    pub(super) fn other_result(&self, call: &OtherAggregate) -> Result<TypeName, Refusal> {
        let name = call.name.as_str();
        let refuse = |reason: &str| Err(Refusal::new(format!("{name}(…)"), reason));
        let of = |at: usize| {
            let argument = call.arguments.get(at);
            argument
                .and_then(|argument| argument.data_type.built_in_name())
                .unwrap_or("")
        };
        let built_in = |name: &str| Ok(TypeName::built_in(name));
        if call.is_within_group {
            return self.within_group(call);
        }
        match (name, call.arguments.len()) {
            ("count", 1) | ("regr_count", 2) => built_in("int8"),
            ("sum" | "avg", 1) if EXACT.contains(&of(0)) => {
                let argument = &call.arguments[0];
                if call.is_distinct {
                    self.require_identity(argument, &format!("{name}(DISTINCT …)"))?;
                }
                let is_small = matches!(of(0), "int2" | "int4");
                built_in(if name == "sum" && is_small {
                    "int8"
                } else {
                    "numeric"
                })
            }
            ("sum", 1) if of(0) == "money" => built_in("money"),
            ("sum" | "avg", 1) if of(0) == "interval" && !call.is_distinct => built_in("interval"),
            _ if adds_floats(call) => {
                require_sorted_arguments(call)?;
                Ok(sum_of_floats(name, &call.arguments[0]))
            }
            ("stddev" | "stddev_pop" | "stddev_samp" | "variance" | "var_pop" | "var_samp", 1)
                if EXACT.contains(&of(0)) && !call.is_distinct =>
            {
                built_in("numeric")
            }
            ("bit_and" | "bit_or" | "bit_xor", 1) if matches!(of(0), "int2" | "int4" | "int8") => {
                Ok(call.arguments[0].data_type.clone())
            }
            ("min" | "max", 1) => {
                self.require_identity(&call.arguments[0], &format!("{name}(…)"))?;
                self.require_operator("<", &call.arguments[0], &call.arguments[0])?;
                Ok(call.arguments[0].data_type.clone())
            }
            ("bool_and" | "bool_or" | "every", 1) if of(0) == "bool" => built_in("bool"),
            ("string_agg", 2) if of(0) == "text" && of(1) == "text" => built_in("text"),
            ("array_agg", 1) if call.arguments[0].data_type.element().is_none() => {
                // its order is looked at where its rows are known
                Ok(call.arguments[0].data_type.clone().array())
            }
            ("json_agg" | "jsonb_agg", 1) | ("json_object_agg" | "jsonb_object_agg", 2) => {
                if call
                    .arguments
                    .iter()
                    .any(|argument| !is_json_under_kept_settings(argument))
                {
                    return refuse("how its values are written may depend on settings");
                }
                built_in(if name.starts_with("jsonb") {
                    "jsonb"
                } else {
                    "json"
                })
            }
            _ => refuse("this version does not know how to maintain this aggregate"),
        }
    }

    fn within_group(&self, call: &OtherAggregate) -> Result<TypeName, Refusal> {
        let name = call.name.as_str();
        let refuse = |reason: &str| Err(Refusal::new(format!("{name}(…)"), reason));
        let [(value, _)] = &call.order[..] else {
            return refuse("this version does not know this form of an aggregate");
        };
        let is_fixed = call
            .arguments
            .iter()
            .all(|argument| argument.columns().is_empty());
        match (name, call.arguments.len()) {
            ("percentile_disc", 1) | ("mode", 0) if is_fixed => {
                let fractions = call.arguments.first();
                let fractions = fractions.map(|fractions| &fractions.data_type);
                self.require_identity(value, &format!("{name}(…)"))?;
                match fractions {
                    Some(fractions)
                        if is_float8s(fractions) && value.data_type.element().is_none() =>
                    {
                        Ok(value.data_type.clone().array())
                    }
                    Some(fractions) if !fractions.is("float8") => {
                        refuse("this version does not know this form of an aggregate")
                    }
                    _ => Ok(value.data_type.clone()),
                }
            }
            // a cast from exact numbers gives no -0, which could not be told from 0 by its place in the order
            ("percentile_cont", 1) if is_fixed && is_from_exact(value) => {
                match &call.arguments[0].data_type {
                    fractions if fractions.is("float8") || is_float8s(fractions) => {
                        Ok(fractions.clone())
                    }
                    _ => refuse("this version does not know this form of an aggregate"),
                }
            }
            _ => refuse("this version does not know how to maintain this aggregate"),
        }
    }
}

fn is_float8s(data_type: &TypeName) -> bool {
    data_type
        .element()
        .is_some_and(|element| element.is("float8"))
}

/// The type of what adds up floating-point numbers.
fn sum_of_floats(name: &str, argument: &Expression) -> TypeName {
    TypeName::built_in(if name == "sum" && argument.data_type.is("float4") {
        "float4"
    } else {
        "float8"
    })
}

/// Whether it adds up floating-point numbers.
fn adds_floats(call: &OtherAggregate) -> bool {
    const OF_ONE: &[&str] = &[
        "sum",
        "avg",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "variance",
        "var_pop",
        "var_samp",
    ];
    const OF_TWO: &[&str] = &[
        "corr",
        "covar_pop",
        "covar_samp",
        "regr_avgx",
        "regr_avgy",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "regr_sxx",
        "regr_sxy",
        "regr_syy",
    ];
    let known = match call.arguments.len() {
        1 => OF_ONE,
        2 => OF_TWO,
        _ => return false,
    };
    known.contains(&call.name.as_str()) && call.arguments.iter().all(is_float)
}

pub(super) fn is_float(value: &Expression) -> bool {
    value.data_type.is("float4") || value.data_type.is("float8")
}

// The last digits of a sum of floating-point numbers depend on the order in which they are added. In the order of the numbers
// themselves there is but one sum: those that are equal and not the same, 0 and -0, add the same to any other number.
fn require_sorted_arguments(call: &OtherAggregate) -> Result<(), Refusal> {
    let is_sorted = |argument| call.order.iter().any(|(value, _)| value == argument);
    if !call.is_distinct && call.arguments.iter().all(is_sorted) {
        return Ok(());
    }
    let name = &call.name;
    Err(Refusal::new(
        format!("{name}(…)"),
        format!(
            "{name} of floating-point numbers depends on the order of the rows; cast to numeric, or add ORDER BY of what it is over"
        ),
    ))
}

fn is_json_under_kept_settings(value: &Expression) -> bool {
    is_written(&value.data_type)
}

fn is_from_exact(value: &Expression) -> bool {
    match &value.kind {
        Kind::Cast { operand, .. } => {
            let name = operand.data_type.built_in_name();
            value.data_type.is("float8") && name.is_some_and(|name| EXACT.contains(&name))
        }
        _ => false,
    }
}
