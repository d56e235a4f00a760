//! Arguments of functions as they are given: in order, by name, as an array.

use pg_query::NodeEnum;
use pg_query::protobuf::{NamedArgExpr, Node};

use super::nodes::{content, required};
use super::{Expression, Kind, Refusal};
use crate::sql::identifier;

/// What stands before an argument.
pub(super) enum Mark {
    None,
    /// `name =>`
    Name(String),
    Variadic,
}

impl Mark {
    /// The name of the parameter, if it is given by that.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Name(name) => format!("{} => ", identifier(name)),
            Self::Variadic => "VARIADIC ".to_owned(),
        }
    }
}

/// An argument, and what stands before it.
pub(super) fn parameter(node: &Node) -> Result<(Mark, &Node), Refusal> {
    let NodeEnum::NamedArgExpr(named) = content(node)? else {
        return Ok((Mark::None, node));
    };
    let NamedArgExpr {
        xpr: _,
        arg,
        name,
        argnumber: _,
        location: _,
    } = &**named;
    Ok((Mark::Name(name.clone()), required(arg.as_deref())?))
}

/// A function with its arguments as they were given.
pub(super) fn called(name: String, arguments: Vec<Expression>, marks: &[Mark]) -> Kind {
    if marks.iter().all(|mark| matches!(mark, Mark::None)) {
        return Kind::Call { name, arguments };
    }
    let mut texts = vec![format!("{name}(")];
    for (at, mark) in marks.iter().enumerate() {
        let separator = if at > 0 { ", " } else { "" };
        let before = format!("{separator}{}", mark.text());
        if at == 0 {
            texts[0] += &before;
        } else {
            texts.push(before);
        }
    }
    texts.push(")".to_owned());
    Kind::Written {
        texts,
        parts: arguments,
    }
}
