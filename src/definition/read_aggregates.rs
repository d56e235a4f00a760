//! Aggregates in the select list and in HAVING.

use pg_query::protobuf::{FuncCall, Node};

use super::nodes::qualified;
use super::read_expression::Place;
use super::read_select::Reader;
use super::{AggregateCall, AggregateFunction, Expression, FunctionKind, Kind, Refusal, TypeName};

impl Reader<'_> {
    /// Whether a function call is that of an aggregate.
    pub(super) fn is_aggregate(&self, call: &FuncCall) -> Result<bool, Refusal> {
        let (schema, name) = qualified(&call.funcname)?;
        let declared = self.catalog.functions.iter().any(|((s, n, _), fact)| {
            *s == schema && *n == name && fact.kind == FunctionKind::Aggregate
        });
        Ok(declared || (schema == "pg_catalog" && AggregateFunction::named(&name).is_some()))
    }

    /// Reads an aggregate.
    pub(super) fn aggregate(
        &self,
        call: &FuncCall,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        if place.aggregates.is_none() {
            return Err(Refusal::unknown(
                "an aggregate outside the select list and HAVING",
            ));
        }
        if let Some(texts) = place.inside(|place| self.json_agg_of_rows(call, place))? {
            return Ok(super::whole_rows::as_json_array(noted(texts, place)?));
        }
        let call = place.inside(|place| self.aggregate_call(call, place))?;
        noted(call, place)
    }

    fn aggregate_call(
        &self,
        call: &FuncCall,
        place: &mut Place<'_>,
    ) -> Result<AggregateCall, Refusal> {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group,
            agg_star,
            agg_distinct,
            func_variadic,
            funcformat: _,
            location: _,
        } = call;
        let (schema, name) = qualified(funcname)?;
        let refuse = |reason: &str| Err(Refusal::new(format!("{name}(…)"), reason));
        if over.is_some() {
            return refuse("this version does not know window functions");
        }
        let is_plain = !*agg_distinct
            && agg_order.is_empty()
            && !*agg_within_group
            && !*func_variadic
            && schema == "pg_catalog";
        let simple = match AggregateFunction::named(&name) {
            Some(function) if is_plain => {
                self.simple_aggregate(function, &name, args, *agg_star, place)
            }
            _ => Err(Refusal::unknown(format!("{name}(…) in this form"))),
        };
        Ok(match simple {
            Ok((function, argument, result)) => AggregateCall {
                function,
                argument,
                filter: self.filter_of(agg_filter.as_deref(), place)?,
                result,
                other: None,
            },
            Err(refusal) if *agg_star => return Err(refusal),
            Err(_) => self.other_aggregate(call, place)?,
        })
    }

    /// The condition of FILTER, of which it only matters whether it is true.
    pub(super) fn filter_of(
        &self,
        filter: Option<&Node>,
        place: &mut Place<'_>,
    ) -> Result<Option<Expression>, Refusal> {
        place.is_condition = true;
        filter.map(|filter| self.read(filter, place)).transpose()
    }

    /// An aggregate of which counts and sums can be kept.
    fn simple_aggregate(
        &self,
        function: AggregateFunction,
        name: &str,
        arguments: &[Node],
        is_star: bool,
        place: &mut Place<'_>,
    ) -> Result<(AggregateFunction, Option<Expression>, TypeName), Refusal> {
        let argument = match (arguments, is_star) {
            ([], true) if function == AggregateFunction::Count => None,
            ([argument], false) => match self.counted_row(argument, place)? {
                Some(counted) if function == AggregateFunction::Count => Some(counted),
                _ => Some(self.read(argument, place)?),
            },
            _ => {
                return Err(Refusal::unknown(format!(
                    "{name}(…) in this form of an aggregate"
                )));
            }
        };
        let result = self.aggregate_result(function, name, argument.as_ref())?;
        Ok((function, argument, result))
    }

    pub(super) fn aggregate_result(
        &self,
        function: AggregateFunction,
        name: &str,
        argument: Option<&Expression>,
    ) -> Result<TypeName, Refusal> {
        let Some(argument) = argument else {
            return Ok(TypeName::built_in("int8"));
        };
        let of_type = argument.data_type.built_in_name().unwrap_or("");
        let inexact = |kind: &str| {
            let reason = if matches!(of_type, "float4" | "float8") {
                format!(
                    "{kind} of floating-point numbers depends on the order of the rows; cast to numeric"
                )
            } else {
                format!(
                    "{kind} is maintained for integers and numeric, not for {}",
                    argument.data_type
                )
            };
            Err(Refusal::new(format!("{name}(…)"), reason))
        };
        match function {
            AggregateFunction::Count => Ok(TypeName::built_in("int8")),
            AggregateFunction::Sum => match of_type {
                "int2" | "int4" => Ok(TypeName::built_in("int8")),
                "int8" | "numeric" => Ok(TypeName::built_in("numeric")),
                _ => inexact("sum"),
            },
            AggregateFunction::Avg => match of_type {
                "int2" | "int4" | "int8" | "numeric" => Ok(TypeName::built_in("numeric")),
                _ => inexact("avg"),
            },
            AggregateFunction::BoolAnd | AggregateFunction::BoolOr => {
                Ok(TypeName::built_in("bool"))
            }
            AggregateFunction::Min | AggregateFunction::Max => {
                // merging compares with < and sorts; bool and uuid have no min or max of their own in every version
                let sorted = [
                    "int2",
                    "int4",
                    "int8",
                    "oid",
                    "text",
                    "date",
                    "time",
                    "timestamp",
                    "timestamptz",
                    "numeric",
                ];
                if !sorted.contains(&of_type) {
                    return Err(Refusal::new(
                        format!("{name}(…)"),
                        format!("{name} is not maintained for {}", argument.data_type),
                    ));
                }
                self.require_identity(argument, &format!("{name}(…)"))?;
                Ok(argument.data_type.clone())
            }
        }
    }
}

/// An aggregate is one of the innermost query whose columns it reads (documentation of `PostgreSQL`, "Aggregate Expressions").
fn require_own_columns(call: &AggregateCall) -> Result<(), Refusal> {
    let parts = call.expressions();
    let is_of_outside = parts.iter().any(|part| part.names_outside())
        && parts.iter().all(|part| part.columns().is_empty());
    if is_of_outside {
        return Err(Refusal::new(
            "an aggregate in a subquery",
            "it reads columns of the query outside alone, and so is an aggregate of that one",
        ));
    }
    Ok(())
}

/// The value of an aggregate, which is noted once however often it is written.
fn noted(call: AggregateCall, place: &mut Place<'_>) -> Result<Expression, Refusal> {
    require_own_columns(&call)?;
    let Some(aggregates) = place.aggregates.as_deref_mut() else {
        return Err(Refusal::unknown("an aggregate in this place"));
    };
    let value = call.value();
    let known = aggregates.iter().position(|other| *other == call);
    let position = known.unwrap_or_else(|| {
        aggregates.push(call);
        aggregates.len() - 1
    });
    Ok(Expression {
        kind: Kind::Aggregate(position),
        ..value
    })
}
