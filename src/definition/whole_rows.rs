//! Whole rows as values: `to_jsonb(o)`, which the server prints as `to_jsonb(o.*)`.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node};

use super::nodes::{content, names, qualified};
use super::read_expression::{DEFAULT_COLLATION, Place};
use super::read_select::Reader;
use super::scope::{Item, Presence, Scope};
use super::settings::is_written;
use super::{
    AggregateCall, AggregateFunction, Expression, Kind, OtherAggregate, Refusal, TypeName,
};
use crate::sql::identifier;

impl Reader<'_> {
    /// An argument of a function, which may be a whole row.
    pub(super) fn argument(
        &self,
        node: &Node,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        match self.item(node, place.scope)? {
            Some((item, distance)) => row(&item, distance),
            None => self.read(node, place),
        }
    }

    /// An argument of an aggregate: what makes JSON of rows makes the same of their JSON, which can be told apart.
    pub(super) fn json_argument(
        &self,
        aggregate: &FuncCall,
        node: &Node,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let value = self.argument(node, place)?;
        if !value.data_type.is_written_row() {
            return Ok(value);
        }
        let (schema, name) = qualified(&aggregate.funcname)?;
        let json = match name.as_str() {
            "jsonb_agg" | "jsonb_object_agg" => "jsonb",
            "json_object_agg" => "json",
            _ => return Err(not_written(&name)),
        };
        // DISTINCT sorts by rows, not by JSON
        if schema != "pg_catalog" || aggregate.agg_distinct {
            return Err(not_written(&name));
        }
        Ok(Expression::new(
            Kind::Call {
                name: format!("to_{json}"),
                arguments: vec![value],
            },
            TypeName::built_in(json),
        ))
    }

    /// `json_agg` of whole rows, as the list of their texts that [`as_json_array`] makes an array of. It begins a line with each row
    /// that is there, which it does not with each json. Nothing if it is no such call.
    pub(super) fn json_agg_of_rows(
        &self,
        call: &FuncCall,
        place: &mut Place<'_>,
    ) -> Result<Option<AggregateCall>, Refusal> {
        let (schema, name) = qualified(&call.funcname)?;
        let ([argument], "pg_catalog", "json_agg") =
            (&call.args[..], schema.as_str(), name.as_str())
        else {
            return Ok(None);
        };
        let Some((item, distance)) = self.item(argument, place.scope)? else {
            return Ok(None);
        };
        if call.agg_distinct {
            return Err(not_written(&name));
        }
        let element = Expression {
            kind: Kind::Written {
                texts: vec![
                    "coalesce(E'\\n ' || CAST(to_json(".to_owned(),
                    ") AS text), 'null')".to_owned(),
                ],
                parts: vec![row(&item, distance)?],
            },
            collation: Some(DEFAULT_COLLATION.to_owned()),
            ..Expression::new(Kind::Literal(String::new()), TypeName::built_in("text"))
        };
        let separator =
            Expression::new(Kind::Literal("', '".to_owned()), TypeName::built_in("text"));
        let other = OtherAggregate {
            name: "string_agg".to_owned(),
            arguments: vec![element, separator],
            is_distinct: false,
            order: self.order_of(call, place)?,
            is_within_group: false,
        };
        Ok(Some(AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            filter: self.filter_of(call.agg_filter.as_deref(), place)?,
            result: self.other_result(&other)?,
            other: Some(other),
        }))
    }

    /// What `count` of a whole row counts: anything where all its rows are there, else what tells whether they are. Nothing if
    /// it is no whole row.
    pub(super) fn counted_row(
        &self,
        node: &Node,
        place: &Place<'_>,
    ) -> Result<Option<Expression>, Refusal> {
        let Some((item, distance)) = self.item(node, place.scope)? else {
            return Ok(None);
        };
        match item.presence {
            Presence::Certain => Ok(Some(Expression::boolean(Kind::Literal("true".to_owned())))),
            Presence::By(column) => Ok(Some(outside(column, distance))),
            Presence::Unknown => Err(not_told(&item.alias)),
        }
    }

    /// The item of FROM, here or so many queries further out, of which this is the whole row.
    fn item(&self, node: &Node, scope: &Scope) -> Result<Option<(Item, usize)>, Refusal> {
        let NodeEnum::ColumnRef(column) = content(node)? else {
            return Ok(None);
        };
        let [alias, star] = &column.fields[..] else {
            return Ok(None);
        };
        if !matches!(star.node, Some(NodeEnum::AStar(_))) {
            return Ok(None);
        }
        let alias = names(std::slice::from_ref(alias))?[0];
        if let Some(item) = scope.item(alias)? {
            return Ok(Some((item.clone(), 0)));
        }
        let outside = self.outside.borrow();
        for (distance, scope) in outside.iter().rev().enumerate() {
            if let Some(item) = scope.item(alias)? {
                return Ok(Some((item.clone(), distance + 1)));
            }
        }
        Err(super::scope::no_column(alias))
    }
}

/// The texts of rows as the array that `json_agg` makes of them.
pub(super) fn as_json_array(texts: Expression) -> Expression {
    Expression::new(
        Kind::Written {
            texts: vec![
                "CAST('[' || ltrim(".to_owned(),
                ", E'\\n ') || ']' AS json)".to_owned(),
            ],
            parts: vec![texts],
        },
        TypeName::built_in("json"),
    )
}

/// The refusal of a whole row where something else than its text may matter.
pub(super) fn not_written(function: &str) -> Refusal {
    Refusal::new(
        format!("{function}(…)"),
        "this version knows whole rows only in functions that write them, and in JSON aggregates without DISTINCT",
    )
}

fn not_told(alias: &str) -> Refusal {
    Refusal::new(
        format!("{alias}.*"),
        "on this side of an outer join it can not be told whether the row is there, as none of its columns is NOT NULL",
    )
}

/// o.* = SELECT of a row with the names and values of its columns; NULL if o has no row here, which is not a row of NULLs.
fn row(item: &Item, distance: usize) -> Result<Expression, Refusal> {
    let shown = format!("{}.*", item.alias);
    if let Some((name, column)) = item
        .columns
        .iter()
        .find(|(_, column)| !is_written(&column.data_type))
    {
        return Err(Refusal::new(
            shown,
            format!(
                "how its column {name} of type {} is written may depend on settings that are not kept",
                column.data_type
            ),
        ));
    }
    let columns = item.columns.iter().map(|(_, column)| column);
    let (presence, parts): (Option<&Expression>, Vec<&Expression>) = match &item.presence {
        Presence::Certain => (None, columns.collect()),
        Presence::By(column) => (Some(column), [column].into_iter().chain(columns).collect()),
        Presence::Unknown => return Err(not_told(&item.alias)),
    };
    let alias = unlike(&item.columns);
    // named by .*, as a column further out may be called like that; which is a value only as an argument of something
    let before = format!("(SELECT coalesce({alias}.*) FROM (SELECT ");
    let mut texts = match presence {
        None => vec![before],
        Some(_) => vec![
            "CASE WHEN ".to_owned(),
            format!(" IS NOT NULL THEN {before}"),
        ],
    };
    for (at, (name, _)) in item.columns.iter().enumerate() {
        let separator = if at + 1 < item.columns.len() {
            ", "
        } else {
            ""
        };
        texts.push(format!(" AS {}{separator}", identifier(name)));
    }
    if let Some(last) = texts.last_mut() {
        last.extend([") AS ", &alias, ")"]);
        if presence.is_some() {
            last.push_str(" END");
        }
    }
    Ok(Expression {
        kind: Kind::Written {
            texts,
            parts: parts
                .into_iter()
                .map(|part| outside(part.clone(), distance))
                .collect(),
        },
        data_type: TypeName::written_row(),
        collation: None,
        scale: None,
        is_nullable: true,
    })
}

/// A value of the row outside of so many queries.
fn outside(mut value: Expression, distance: usize) -> Expression {
    for _ in 0..distance {
        value.kind = Kind::Outer(Box::new(value.clone()));
    }
    value
}

/// A name that is none of theirs.
fn unlike(columns: &[(String, Expression)]) -> String {
    let mut alias = "whole_row".to_owned();
    while columns.iter().any(|(name, _)| *name == alias) {
        alias.push('_');
    }
    alias
}
