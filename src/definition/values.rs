//! VALUES.

use pg_query::NodeEnum;
use pg_query::protobuf::{List, Node};

use super::nodes::content;
use super::read_select::{Outputs, Reader};
use super::scope::Scope;
use super::set_functions::one_row;
use super::{Expression, Operator, Refusal};

impl Reader<'_> {
    /// Rows that are written out, of constants.
    pub(super) fn values(&self, lists: &[Node]) -> Result<(Operator, Outputs), Refusal> {
        let nothing = Scope::default();
        let rows = lists
            .iter()
            .map(|list| {
                let NodeEnum::List(List { items }) = content(list)? else {
                    return Err(Refusal::unknown("this in VALUES"));
                };
                items
                    .iter()
                    .map(|item| self.expression(item, &nothing))
                    .collect::<Result<Vec<_>, _>>()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let widths_differ = rows.iter().any(|row| row.len() != rows[0].len());
        let types_differ = rows.iter().any(|row| {
            row.iter()
                .zip(&rows[0])
                .any(|(one, other)| one.data_type != other.data_type)
        });
        if widths_differ || types_differ {
            return Err(Refusal::new(
                "VALUES",
                "its rows differ in their types, or are not of constants",
            ));
        }
        let is_outside = rows.iter().flatten().any(Expression::names_outside);
        let operator = if is_outside {
            // rows that depend on another one are computed one by one
            let each = rows.into_iter().map(|outputs| Operator::Project {
                input: Box::new(one_row()),
                outputs,
            });
            Operator::UnionAll(each.collect())
        } else {
            Operator::Values { rows }
        };
        let columns = operator.columns().into_iter().enumerate();
        let outputs = columns.map(|(at, column)| (format!("column{}", at + 1), column));
        let outputs = outputs.collect();
        Ok((operator, outputs))
    }
}
