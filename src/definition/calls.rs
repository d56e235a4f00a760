//! Operators and functions: each must be found in the catalog and be immutable.

use pg_query::protobuf::{CoercionForm, FuncCall};

use super::nodes::qualified;
use super::parameters::{Mark, called, parameter};
use super::read_expression::{DEFAULT_COLLATION, Place, merged_collation, operand_type};
use super::read_select::Reader;
use super::subqueries::Pending;
use super::{
    Expression, FunctionFact, FunctionKind, Kind, OperatorFact, Refusal, TypeName, settings,
};
use crate::sql::identifier;

impl Reader<'_> {
    /// `left operator right`, an operator of `pg_catalog`.
    pub(super) fn compared(
        &self,
        symbol: &str,
        left: Expression,
        right: Expression,
    ) -> Result<Expression, Refusal> {
        self.applied("pg_catalog", symbol, Some(left), right)
    }

    /// An operator with its operands.
    pub(super) fn applied(
        &self,
        schema: &str,
        symbol: &str,
        left: Option<Expression>,
        right: Expression,
    ) -> Result<Expression, Refusal> {
        let fact = self.find_operator(schema, symbol, left.as_ref(), &right)?;
        let from_parts = {
            let parts: Vec<&Expression> = left.iter().chain([&right]).collect();
            (merged_collation(&parts), scale_of(symbol, &parts))
        };
        let mut value = Expression::new(
            Kind::Operator {
                left: left.map(Box::new),
                operator: operator_text(schema, symbol),
                right: Box::new(right),
            },
            fact.result.clone(),
        );
        let (collation, scale) = from_parts;
        if value.data_type.is_collatable() {
            value.collation = collation;
        }
        if schema == "pg_catalog" && value.data_type.is("numeric") {
            value.scale = scale;
        }
        Ok(value.null_as_parts())
    }

    /// `left operator ANY (array)` or ALL.
    pub(super) fn quantified(
        &self,
        word: &'static str,
        schema: &str,
        symbol: &str,
        left: Expression,
        array: Expression,
    ) -> Result<Expression, Refusal> {
        let element = array
            .data_type
            .element()
            .ok_or_else(|| Refusal::unknown(format!("{word} of something that is no array")))?;
        let of_elements = Expression {
            data_type: element,
            ..array.clone()
        };
        let fact = self.find_operator(schema, symbol, Some(&left), &of_elements)?;
        if !fact.result.is("bool") {
            return Err(Refusal::unknown(format!("{word} with operator {symbol}")));
        }
        Ok(Expression::boolean(Kind::Quantified {
            left: Box::new(left),
            operator: operator_text(schema, symbol),
            word,
            array: Box::new(array),
        }))
    }

    /// Refuses unless an immutable operator of `pg_catalog` applies.
    pub(super) fn require_operator(
        &self,
        symbol: &str,
        left: &Expression,
        right: &Expression,
    ) -> Result<(), Refusal> {
        self.find_operator("pg_catalog", symbol, Some(left), right)
            .map(|_| ())
    }

    fn find_operator(
        &self,
        schema: &str,
        symbol: &str,
        left: Option<&Expression>,
        right: &Expression,
    ) -> Result<OperatorFact, Refusal> {
        let left_type = left.map(operand_type);
        let right_type = operand_type(right);
        let shown = || match &left_type {
            Some(left_type) => format!("{left_type} {symbol} {right_type}"),
            None => format!("{symbol} {right_type}"),
        };
        match self
            .catalog
            .operator(schema, symbol, left_type.as_ref(), &right_type)
        {
            Some(fact) if fact.is_immutable => Ok(fact),
            Some(fact)
                if schema == "pg_catalog"
                    && settings::is_kept_operator(symbol, left_type.as_ref(), &right_type) =>
            {
                Ok(fact)
            }
            Some(_) => Err(Refusal::new(
                shown(),
                "the operator is not immutable: its result may change without any row changing",
            )),
            None => Err(Refusal::unknown(shown())),
        }
    }

    /// A function of one row, or in the select list one that gives a set.
    pub(super) fn call(
        &self,
        call: &FuncCall,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let (value, kind) = self.any_call(call, place)?;
        if kind != FunctionKind::SetReturning {
            return Ok(value);
        }
        let function = super::set_functions::set_in_targets(value)?;
        let facts = function.columns[0].clone();
        let noted = super::subqueries::noted(place, Pending::Set(function))?;
        Ok(Expression {
            kind: noted.kind,
            ..facts
        })
    }

    /// A function that is no aggregate and no window function, and whether it gives a set.
    pub(super) fn any_call(
        &self,
        call: &FuncCall,
        place: &mut Place<'_>,
    ) -> Result<(Expression, FunctionKind), Refusal> {
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
            funcformat,
            location: _,
        } = call;
        let (schema, name) = qualified(funcname)?;
        if over.is_some() {
            return Err(Refusal::new(
                format!("{name}() OVER"),
                "this version does not know window functions",
            ));
        }
        if !agg_order.is_empty()
            || agg_filter.is_some()
            || *agg_within_group
            || *agg_star
            || *agg_distinct
        {
            return Err(Refusal::unknown(format!("{name}(…) in this form")));
        }
        let mut arguments = Vec::new();
        let mut marks = Vec::new();
        for argument in args {
            let (mark, value) = parameter(argument)?;
            arguments.push(self.argument(value, place)?);
            marks.push(mark);
        }
        if *func_variadic && let Some(last) = marks.last_mut() {
            *last = Mark::Variadic;
        }
        // SUBSTRING(x FROM 1) and its like are printed without their implicit casts
        if CoercionForm::try_from(*funcformat) == Ok(CoercionForm::CoerceSqlSyntax) {
            arguments = arguments.into_iter().map(as_text).collect();
        }
        let types: Vec<TypeName> = arguments
            .iter()
            // the field of EXTRACT is the one argument that is printed without its type
            .map(|argument| {
                if argument.data_type.is("unknown") {
                    TypeName::built_in("text")
                } else {
                    argument.data_type.clone()
                }
            })
            .collect();
        let names: Vec<&str> = marks.iter().filter_map(Mark::name).collect();
        let is_built_in = schema == "pg_catalog";
        let writing = settings::written_by(&name, &types).filter(|_| is_built_in);
        if writing.is_none() && types.iter().any(TypeName::is_written_row) {
            return Err(super::whole_rows::not_written(&name));
        }
        let fact = match writing {
            Some(result) => Some(FunctionFact {
                result,
                is_immutable: true,
                kind: FunctionKind::Plain,
            }),
            None if names.is_empty() => self.catalog.function(&schema, &name, &types),
            None => self
                .catalog
                .function_by_names(&schema, &name, &types, &names),
        };
        let is_kept = is_built_in && settings::is_kept_function(&name, &types);
        let reason = match fact {
            None => "this version does not know it",
            Some(fact)
                if !matches!(fact.kind, FunctionKind::Plain | FunctionKind::SetReturning) =>
            {
                "it is no plain function"
            }
            Some(_) if is_built_in && settings::depends_on_time(&name) => {
                "it depends on the time of the refresh"
            }
            Some(fact) if !fact.is_immutable && !is_kept => {
                "it is not immutable: its result may change without any row changing"
            }
            Some(fact) => {
                let kind = fact.kind;
                let value = result_of_call((&schema, &name), fact.result, arguments, &marks);
                return Ok((value, kind));
            }
        };
        Err(Refusal::new(format!("{name}(…)"), reason))
    }
}

/// What a function gives, with what is known of it from its arguments.
fn result_of_call(
    (schema, name): (&str, &str),
    result: TypeName,
    arguments: Vec<Expression>,
    marks: &[Mark],
) -> Expression {
    let mut value = Expression::new(Kind::Literal(String::new()), result);
    if has_collation(&value.data_type) {
        // of a function without strings among its arguments it is the default one
        let collatable: Vec<&Expression> = arguments
            .iter()
            .filter(|part| has_collation(&part.data_type))
            .collect();
        value.collation = if collatable.is_empty() {
            Some(DEFAULT_COLLATION.to_owned())
        } else if collatable.iter().any(|part| part.collation.is_none()) {
            None
        } else {
            merged_collation(&collatable)
        };
    }
    let is_built_in = schema == "pg_catalog";
    if is_built_in && name == "extract" {
        value.scale = whole_field(&arguments);
    }
    let name = if is_built_in {
        identifier(name)
    } else {
        format!("{}.{}", identifier(schema), identifier(name))
    };
    value.kind = called(name, arguments, marks);
    value
}

/// Whether values of a type, or the elements of an array, are compared under a collation.
fn has_collation(data_type: &TypeName) -> bool {
    let element = data_type.element();
    element.as_ref().unwrap_or(data_type).is_collatable()
}

/// A string as it is cast without saying so for functions of text.
fn as_text(value: Expression) -> Expression {
    if !matches!(value.data_type.built_in_name(), Some("varchar" | "bpchar")) {
        return value;
    }
    let text = TypeName::built_in("text");
    Expression {
        data_type: text.clone(),
        scale: None,
        kind: Kind::Cast {
            operand: Box::new(value.clone()),
            target: text.to_string(),
        },
        ..value
    }
}

/// The scale of a field of a date or time that is a whole number (of others it is not always the same).
fn whole_field(arguments: &[Expression]) -> Option<i32> {
    const WHOLE: &[&str] = &[
        "'year'",
        "'month'",
        "'day'",
        "'hour'",
        "'minute'",
        "'quarter'",
        "'week'",
        "'dow'",
        "'isodow'",
        "'doy'",
        "'isoyear'",
        "'decade'",
        "'century'",
        "'millennium'",
    ];
    match arguments {
        [
            Expression {
                kind: Kind::Literal(field),
                ..
            },
            _,
        ] if WHOLE.contains(&field.as_str()) => Some(0),
        _ => None,
    }
}

fn operator_text(schema: &str, symbol: &str) -> String {
    if schema == "pg_catalog" {
        symbol.to_owned()
    } else {
        format!("OPERATOR({}.{symbol})", identifier(schema))
    }
}

// Digits after the point: those of the longer operand for a sum, all together for a product (numeric.c).
fn scale_of(symbol: &str, parts: &[&Expression]) -> Option<i32> {
    let scales: Option<Vec<i32>> = parts.iter().map(|part| part.scale).collect();
    let scales = scales?;
    match symbol {
        "+" | "-" => scales.into_iter().max(),
        // a product is cut off beyond what numeric can show
        "*" => Some(scales.into_iter().sum()).filter(|scale| *scale < 1000),
        _ => None,
    }
}
