//! Elements and slices of arrays and of JSON, and rows that are compared.

use pg_query::NodeEnum;
use pg_query::protobuf::{AIndices, AIndirection, Node};

use super::nodes::{content, kind_of, required};
use super::read_expression::Place;
use super::read_select::Reader;
use super::{Expression, Kind, Refusal};

/// The fields of two rows that are written out.
type Rows<'a> = (&'a [Node], &'a [Node]);

impl Reader<'_> {
    /// `array[1]`, `array[1:2]`, `jsonb['key']`.
    pub(super) fn subscripted(
        &self,
        indirection: &AIndirection,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let AIndirection { arg, indirection } = indirection;
        let value = self.read(required(arg.as_deref())?, place)?;
        let is_json = value.data_type.is("jsonb");
        let mut texts = vec!["(".to_owned()];
        let mut parts = vec![value.clone()];
        let mut open = ")".to_owned();
        let mut has_slice = false;
        for step in indirection {
            let NodeEnum::AIndices(indices) = content(step)? else {
                return Err(Refusal::unknown(kind_of(content(step)?)));
            };
            let AIndices {
                is_slice,
                lidx,
                uidx,
            } = &**indices;
            has_slice |= is_slice;
            open.push('[');
            let bounds = [(lidx, if *is_slice { ":" } else { "" }), (uidx, "]")];
            for (bound, after) in bounds {
                if let Some(bound) = bound {
                    let index = self.read(bound, place)?;
                    let is_known = index.data_type.is("int4")
                        || (is_json
                            && (index.data_type.is("text") || index.data_type.is("unknown")));
                    if !is_known {
                        return Err(Refusal::unknown(format!(
                            "a subscript of type {}",
                            index.data_type
                        )));
                    }
                    texts.push(std::mem::take(&mut open));
                    parts.push(index);
                }
                open.push_str(after);
            }
        }
        texts.push(open);
        let data_type = match value.data_type.element() {
            Some(_) if has_slice => value.data_type.clone(),
            Some(element) => element,
            None if is_json && !has_slice => value.data_type.clone(),
            None => {
                return Err(Refusal::unknown(format!(
                    "an element of a {}",
                    value.data_type
                )));
            }
        };
        Ok(Expression {
            kind: Kind::Written { texts, parts },
            data_type: self.remarked(data_type),
            collation: value.collation,
            scale: None,
            is_nullable: true,
        })
    }

    /// `ROW(a, b) < ROW(c, d)` is `a < c OR (a = c AND b < d)`; so are the others, with the same answers where there are NULLs.
    pub(super) fn rows_compared(
        &self,
        schema: &str,
        symbol: &str,
        (left, right): Rows<'_>,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        if left.len() != right.len() || left.is_empty() || schema != "pg_catalog" {
            return Err(Refusal::unknown("rows compared like this"));
        }
        let mut pairs = Vec::new();
        for (one, other) in left.iter().zip(right) {
            pairs.push((self.read(one, place)?, self.read(other, place)?));
        }
        let compared = |symbol: &str, (one, other): &(Expression, Expression)| {
            self.compared(symbol, one.clone(), other.clone())
        };
        let each = |symbol: &str| {
            let all = pairs.iter().map(|pair| compared(symbol, pair));
            all.collect::<Result<Vec<_>, _>>()
        };
        let strict = match symbol {
            "=" => return Ok(connected("AND", each("=")?)),
            "<>" => return Ok(connected("OR", each("<>")?)),
            "<" | "<=" => "<",
            ">" | ">=" => ">",
            _ => return Err(Refusal::unknown("rows compared by this operator")),
        };
        let mut ordered = compared(symbol, &pairs[pairs.len() - 1])?;
        for pair in pairs.iter().rev().skip(1) {
            let rest = connected("AND", vec![compared("=", pair)?, ordered]);
            ordered = connected("OR", vec![compared(strict, pair)?, rest]);
        }
        Ok(ordered)
    }
}

/// The fields of both sides of an operator, if both are rows that are written out.
pub(super) fn two_rows<'a>(left: Option<&'a Node>, right: Option<&'a Node>) -> Option<Rows<'a>> {
    match (left?.node.as_ref()?, right?.node.as_ref()?) {
        (NodeEnum::RowExpr(left), NodeEnum::RowExpr(right)) => Some((&left.args, &right.args)),
        _ => None,
    }
}

fn connected(word: &'static str, mut operands: Vec<Expression>) -> Expression {
    if operands.len() == 1 {
        return operands.swap_remove(0);
    }
    Expression::boolean(Kind::Logical { word, operands })
}
