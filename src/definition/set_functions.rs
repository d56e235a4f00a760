//! Functions that give sets, in FROM and in the select list.

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnDef, FuncCall, List, Node, RangeFunction};

use super::nodes::{content, data_type, qualified};
use super::read_expression::Place;
use super::read_select::Reader;
use super::scope::Scope;
use super::settings::is_read;
use super::{Expression, FunctionKind, Kind, Operator, Refusal, SetFunction, TypeName};
use crate::sql::identifier;

/// Functions that give several columns: their names and types.
const RECORDS: &[(&str, [(&str, &str); 2])] = &[
    ("json_each", [("key", "text"), ("value", "json")]),
    ("jsonb_each", [("key", "text"), ("value", "jsonb")]),
    ("json_each_text", [("key", "text"), ("value", "text")]),
    ("jsonb_each_text", [("key", "text"), ("value", "text")]),
];

/// A function in FROM with the names of its columns.
type Named = (SetFunction, Vec<String>);

impl Reader<'_> {
    /// Rows with what functions of them give; and the function's columns, after those of the rows.
    pub(super) fn functions(
        &self,
        input: Operator,
        scope: &Scope,
        range: &RangeFunction,
    ) -> Result<(Operator, Vec<(String, Expression)>), Refusal> {
        let RangeFunction {
            lateral: _,
            ordinality,
            is_rowsfrom: _,
            functions,
            alias,
            coldeflist,
        } = range;
        let mut found: Vec<Named> = Vec::new();
        for function in functions {
            let NodeEnum::List(List { items }) = content(function)? else {
                return Err(Refusal::unknown("this in ROWS FROM"));
            };
            let [call, more @ ..] = &items[..] else {
                return Err(Refusal::unknown("this in ROWS FROM"));
            };
            let NodeEnum::FuncCall(call) = content(call)? else {
                return Err(Refusal::unknown("something else than a function in FROM"));
            };
            let own = match more.first().and_then(|node| node.node.as_ref()) {
                Some(NodeEnum::List(List { items })) => &items[..],
                _ => &coldeflist[..],
            };
            found.extend(self.set_functions(call, own, scope)?);
        }
        let is_one_column = matches!(&found[..], [(function, _)] if function.columns.len() == 1);
        let mut names: Vec<String> = found.iter().flat_map(|(_, names)| names.clone()).collect();
        if let (true, Some(alias)) = (is_one_column, alias) {
            names[0].clone_from(&alias.aliasname);
        }
        if *ordinality {
            names.push("ordinality".to_owned());
        }
        let width = input.width();
        let operator = Operator::Unfold {
            input: Box::new(input),
            functions: found.into_iter().map(|(function, _)| function).collect(),
            has_ordinality: *ordinality,
            is_outer: false,
            conditions: Vec::new(),
        };
        let columns = operator.columns().into_iter().skip(width);
        let columns = columns.enumerate().map(|(at, column)| column.as_column(at));
        Ok((operator, names.into_iter().zip(columns).collect()))
    }

    /// One function, or several for `unnest` of several arrays.
    fn set_functions(
        &self,
        call: &FuncCall,
        definition: &[Node],
        scope: &Scope,
    ) -> Result<Vec<Named>, Refusal> {
        let (schema, name) = qualified(&call.funcname)?;
        if schema == "pg_catalog" && name == "unnest" && call.args.len() > 1 {
            let each = call.args.iter().map(|argument| {
                let of_one = FuncCall {
                    args: vec![argument.clone()],
                    ..call.clone()
                };
                self.set_function(&of_one, definition, scope)
            });
            return each.collect();
        }
        Ok(vec![self.set_function(call, definition, scope)?])
    }

    fn set_function(
        &self,
        call: &FuncCall,
        definition: &[Node],
        scope: &Scope,
    ) -> Result<Named, Refusal> {
        let mut place = Place {
            scope,
            aggregates: None,
            subqueries: None,
            windows: None,
            groupings: None,
            is_condition: false,
        };
        let (_, name) = qualified(&call.funcname)?;
        let (call, kind) = self.any_call(call, &mut place)?;
        if !definition.is_empty() {
            return defined(call, &name, definition);
        }
        if kind == FunctionKind::SetReturning
            && let Some((_, columns)) = RECORDS.iter().find(|(known, _)| *known == name)
            && call.data_type.is("record")
        {
            let facts = columns.iter().map(|(_, of_type)| {
                let mut column = Expression::new(Kind::Column(0), TypeName::built_in(of_type));
                column.collation = column
                    .data_type
                    .is_collatable()
                    .then(|| super::read_expression::DEFAULT_COLLATION.to_owned());
                column
            });
            let names = columns.iter().map(|(name, _)| (*name).to_owned());
            let function = SetFunction {
                columns: facts.collect(),
                definition: None,
                call,
            };
            return Ok((function, names.collect()));
        }
        Ok((one_column(call)?, vec![name]))
    }
}

/// A function that gives a set, in the select list.
pub(super) fn set_in_targets(call: Expression) -> Result<SetFunction, Refusal> {
    if call.any(&mut |part| matches!(part.kind, Kind::Subquery(_))) {
        return Err(Refusal::unknown(
            "a function that gives a set, of a subquery or of another one",
        ));
    }
    one_column(call)
}

/// A function that gives one column, of a type that is no row.
fn one_column(call: Expression) -> Result<SetFunction, Refusal> {
    let is_plain = call
        .data_type
        .built_in_name()
        .is_some_and(|name| name != "record")
        || call.data_type.is_enumeration()
        || call
            .data_type
            .element()
            .is_some_and(|element| element.built_in_name().is_some());
    if !is_plain {
        return Err(Refusal::unknown(format!(
            "a function in FROM that gives {}",
            call.data_type
        )));
    }
    let column = Expression {
        kind: Kind::Column(0),
        is_nullable: true,
        ..call.clone()
    };
    Ok(SetFunction {
        columns: vec![column],
        definition: None,
        call,
    })
}

/// `function(…) AS (name type, …)`.
fn defined(call: Expression, name: &str, definition: &[Node]) -> Result<Named, Refusal> {
    if !call.data_type.is("record") {
        return Err(Refusal::unknown(format!("columns for {name}(…)")));
    }
    let mut names = Vec::new();
    let mut columns = Vec::new();
    let mut texts = Vec::new();
    for node in definition {
        let NodeEnum::ColumnDef(column) = content(node)? else {
            return Err(Refusal::unknown("this among the columns of a function"));
        };
        let ColumnDef {
            colname, type_name, ..
        } = &**column;
        let type_name = type_name
            .as_ref()
            .ok_or_else(|| Refusal::unknown("a column without a type"))?;
        let (of_type, modifiers) = data_type(type_name)?;
        if !is_read(&of_type) || !modifiers.is_empty() || column.coll_clause.is_some() {
            return Err(Refusal::new(
                format!("{name}(…)"),
                format!(
                    "how a column of type {of_type} is read may depend on settings or the time"
                ),
            ));
        }
        texts.push(format!("{} {of_type}", identifier(colname)));
        names.push(colname.clone());
        let mut facts = Expression::new(Kind::Column(0), of_type);
        facts.collation = facts
            .data_type
            .is_collatable()
            .then(|| super::read_expression::DEFAULT_COLLATION.to_owned());
        columns.push(facts);
    }
    let function = SetFunction {
        call,
        columns,
        definition: Some(texts.join(", ")),
    };
    Ok((function, names))
}

/// The rows that are there where FROM says nothing.
pub(super) fn one_row() -> Operator {
    Operator::Values {
        rows: vec![Vec::new()],
    }
}
