//! Small readings of parse tree nodes; each fails where the node is anything else.

use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, Node, TypeName as TypeNode, a_const};

use super::{Refusal, TypeName};

/// What a node is, which must be there.
pub(super) fn content(node: &Node) -> Result<&NodeEnum, Refusal> {
    node.node
        .as_ref()
        .ok_or_else(|| Refusal::unknown("an empty part of the query"))
}

/// What an optional node is, which must be there.
pub(super) fn required(node: Option<&Node>) -> Result<&Node, Refusal> {
    node.ok_or_else(|| Refusal::unknown("a missing part of the query"))
}

/// The text of a name.
pub(super) fn name(node: &Node) -> Result<&str, Refusal> {
    match content(node)? {
        NodeEnum::String(text) => Ok(&text.sval),
        other => Err(Refusal::unknown(kind_of(other))),
    }
}

/// The parts of a dotted name.
pub(super) fn names(nodes: &[Node]) -> Result<Vec<&str>, Refusal> {
    nodes.iter().map(name).collect()
}

/// Schema and name; what has no schema is of `pg_catalog`, the only schema on the path.
pub(super) fn qualified(nodes: &[Node]) -> Result<(String, String), Refusal> {
    match names(nodes)?[..] {
        [name] => Ok(("pg_catalog".to_owned(), name.to_owned())),
        [schema, name] => Ok((schema.to_owned(), name.to_owned())),
        ref parts => Err(Refusal::unknown(format!("the name {}", parts.join(".")))),
    }
}

/// The name of an alias, and the names it gives to columns.
pub(super) fn alias(alias: &Alias) -> Result<(&str, Vec<&str>), Refusal> {
    let Alias {
        aliasname,
        colnames,
    } = alias;
    Ok((aliasname, names(colnames)?))
}

/// A type, and the numbers of its modifier.
pub(super) fn data_type(node: &TypeNode) -> Result<(TypeName, Vec<i32>), Refusal> {
    let TypeNode {
        names,
        type_oid,
        setof,
        pct_type,
        typmods,
        typemod: _,
        array_bounds,
        location: _,
    } = node;
    if *type_oid != 0 || *setof || *pct_type || array_bounds.len() > 1 {
        return Err(Refusal::unknown("a type written like this"));
    }
    let (schema, name) = qualified(names)?;
    let mut data_type = TypeName::new(schema, name);
    if !array_bounds.is_empty() {
        data_type = data_type.array();
    }
    let modifiers = typmods
        .iter()
        .map(|modifier| match content(modifier)? {
            NodeEnum::AConst(constant) => match &constant.val {
                Some(a_const::Val::Ival(number)) => Ok(number.ival),
                _ => Err(Refusal::unknown(format!(
                    "this modifier of type {data_type}"
                ))),
            },
            _ => Err(Refusal::unknown(format!(
                "this modifier of type {data_type}"
            ))),
        })
        .collect::<Result<_, _>>()?;
    Ok((data_type, modifiers))
}

/// How users know a kind of node.
pub(super) fn kind_of(node: &NodeEnum) -> String {
    match node {
        NodeEnum::SubLink(_) => "a subquery in an expression".to_owned(),
        NodeEnum::RangeFunction(_) => "a function in FROM".to_owned(),
        NodeEnum::RangeTableSample(_) => "TABLESAMPLE".to_owned(),
        NodeEnum::RangeTableFunc(_) => "XMLTABLE".to_owned(),
        NodeEnum::JsonTable(_) => "JSON_TABLE".to_owned(),
        NodeEnum::GroupingSet(_) => "GROUPING SETS, ROLLUP, CUBE".to_owned(),
        NodeEnum::GroupingFunc(_) => "GROUPING()".to_owned(),
        NodeEnum::RowExpr(_) => "ROW(…)".to_owned(),
        NodeEnum::AIndirection(_) => "a field or an element of a value".to_owned(),
        NodeEnum::SqlvalueFunction(_) => {
            "CURRENT_TIMESTAMP, CURRENT_USER and their like".to_owned()
        }
        NodeEnum::ParamRef(_) => "a parameter".to_owned(),
        NodeEnum::AStar(_) => "a whole row".to_owned(),
        other => {
            let debug = format!("{other:?}");
            let end = debug
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(debug.len());
            format!("a {} node", &debug[..end])
        }
    }
}
