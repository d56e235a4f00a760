//! Expressions that take one of several values, or all of them: CASE, COALESCE, GREATEST, LEAST, ARRAY[…].

use pg_query::NodeEnum;
use pg_query::protobuf::{AArrayExpr, CaseExpr, CaseWhen, Node};

use super::nodes::{content, required};
use super::read_expression::{Place, merged_collation, require_boolean};
use super::read_select::Reader;
use super::{Expression, Kind, Refusal};

impl Reader<'_> {
    pub(super) fn case(
        &self,
        case: &CaseExpr,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let CaseExpr {
            xpr: _,
            casetype: _,
            casecollid: _,
            arg,
            args,
            defresult,
            location: _,
        } = case;
        let subject = arg
            .as_ref()
            .map(|subject| self.read(subject, place))
            .transpose()?;
        let mut branches = Vec::new();
        for branch in args {
            let NodeEnum::CaseWhen(branch) = content(branch)? else {
                return Err(Refusal::unknown("this in CASE"));
            };
            let CaseWhen {
                xpr: _,
                expr,
                result,
                location: _,
            } = &**branch;
            let when = self.read(required(expr.as_deref())?, place)?;
            match &subject {
                Some(subject) => self.require_operator("=", subject, &when)?,
                None => require_boolean(&when)?,
            }
            branches.push((when, self.read(required(result.as_deref())?, place)?));
        }
        let otherwise = defresult
            .as_ref()
            .map(|value| self.read(value, place))
            .transpose()?;
        let results: Vec<&Expression> = branches
            .iter()
            .map(|(_, then)| then)
            .chain(&otherwise)
            .collect();
        let mut value = common(&results, "CASE")?;
        value.kind = Kind::Case {
            subject: subject.map(Box::new),
            branches,
            otherwise: otherwise.map(Box::new),
        };
        Ok(value.null_as_parts())
    }

    pub(super) fn choice(
        &self,
        name: &str,
        nodes: &[Node],
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let arguments = self.all(nodes, place)?;
        let mut value = common(&arguments.iter().collect::<Vec<_>>(), name)?;
        if name != "COALESCE" {
            self.require_operator("<", &value, &value)?;
        }
        value.kind = Kind::Call {
            name: name.to_owned(),
            arguments,
        };
        Ok(value.null_as_parts())
    }

    pub(super) fn array(
        &self,
        array: &AArrayExpr,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let AArrayExpr {
            elements,
            list_start: _,
            list_end: _,
            location: _,
        } = array;
        let elements = self.all(elements, place)?;
        let element = common(&elements.iter().collect::<Vec<_>>(), "ARRAY")?;
        if element.data_type.element().is_some() {
            return Err(Refusal::unknown("an array of arrays"));
        }
        Ok(Expression {
            scale: None,
            data_type: element.data_type.clone().array(),
            kind: Kind::Array(elements),
            ..element
        })
    }
}

/// What is common to expressions of which one is the value; its kind is to be replaced.
fn common(choices: &[&Expression], clause: &str) -> Result<Expression, Refusal> {
    let (first, rest) = choices
        .split_first()
        .ok_or_else(|| Refusal::unknown(format!("an empty {clause}")))?;
    let mut value = (*first).clone();
    for other in rest {
        if other.data_type != value.data_type {
            return Err(Refusal::new(
                clause,
                format!(
                    "it mixes {} and {}; cast one of them",
                    value.data_type, other.data_type
                ),
            ));
        }
        if other.scale != value.scale {
            value.scale = None;
        }
    }
    value.collation = merged_collation(choices);
    value.is_nullable = true;
    Ok(value)
}
