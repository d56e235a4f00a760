//! Whole rows as values: `to_jsonb(o)`, which the server prints as `to_jsonb(o.*)`.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::nodes::{content, names};
use super::read_expression::Place;
use super::read_select::Reader;
use super::scope::{Item, Presence, Scope};
use super::settings::is_written;
use super::{Expression, Kind, Refusal, TypeName};
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
        aggregate: &str,
        node: &Node,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let value = self.argument(node, place)?;
        if !value.data_type.is_written_row() {
            return Ok(value);
        }
        if aggregate == "json_agg" {
            // it begins a line with each row, but not with each json
            return Err(Refusal::new(
                "json_agg(…)",
                "of whole rows it can't be computed anew from what is logged; jsonb_agg(…) and json_agg(row_to_json(…)) can",
            ));
        }
        let json = if aggregate.starts_with("jsonb") {
            "jsonb"
        } else {
            "json"
        };
        Ok(Expression::new(
            Kind::Call {
                name: format!("to_{json}"),
                arguments: vec![value],
            },
            TypeName::built_in(json),
        ))
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
