//! `ARRAY(SELECT …)`: an aggregate of the rows in their order, `{}` where there are none.

use std::collections::BTreeSet;

use pg_query::protobuf::SelectStmt;

use super::read_select::Reader;
use super::uniqueness::determine;
use super::{
    AggregateCall, AggregateFunction, Expression, Kind, Operator, OtherAggregate, Refusal,
};

impl Reader<'_> {
    // ARRAY(π x (X) ORDER BY y) is COALESCE(γ array_agg(x ORDER BY y) X, '{}'): over no rows the aggregate is NULL, the array is not
    /// The one row with the array of what a subquery gives.
    pub(super) fn array_of(&self, select: &SelectStmt) -> Result<Operator, Refusal> {
        let read = self.in_order(select)?;
        if read.outputs.len() != 1 {
            return Err(Refusal::unknown("ARRAY(…) of several columns"));
        }
        let (input, columns) = read.root.with_outputs();
        let order = read.order.into_iter();
        let call = OtherAggregate {
            name: "array_agg".to_owned(),
            arguments: vec![columns[0].clone()],
            is_distinct: false,
            order: order.map(|(at, how)| (columns[at].clone(), how)).collect(),
            is_within_group: false,
        };
        let aggregate = AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            filter: None,
            result: self.other_result(&call)?,
            other: Some(call),
        };
        let is_one_row = determine(&input, &BTreeSet::new());
        if !is_one_row {
            self.require_orders(&input, &[], std::slice::from_ref(&aggregate))?;
        }
        let array = Expression::new(
            Kind::Literal(format!("'{{}}'::{}", aggregate.result)),
            aggregate.result.clone(),
        );
        let value = Expression {
            kind: Kind::Call {
                name: "COALESCE".to_owned(),
                arguments: vec![aggregate.value().as_column(0), array],
            },
            is_nullable: false,
            ..aggregate.value()
        };
        Ok(Operator::Project {
            input: Box::new(Operator::Aggregate {
                input: Box::new(input),
                keys: Vec::new(),
                aggregates: vec![aggregate],
            }),
            outputs: vec![value],
        })
    }
}
