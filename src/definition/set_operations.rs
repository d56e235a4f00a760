//! UNION, INTERSECT and EXCEPT, with and without ALL.

use pg_query::protobuf::{SelectStmt, SetOperation};

use super::read_select::{Outputs, Reader};
use super::{AggregateCall, AggregateFunction, Expression, Kind, Operator, Refusal, TypeName};

/// Types of numbers, each of which `PostgreSQL` takes for one that comes later where both are meant to be one type.
const WIDER: &[&str] = &["int2", "int4", "int8", "numeric"];

impl Reader<'_> {
    /// Two queries as one.
    pub(super) fn set_operation(
        &self,
        operation: SetOperation,
        left: &SelectStmt,
        right: &SelectStmt,
        all: bool,
    ) -> Result<(Operator, Outputs), Refusal> {
        let word = match operation {
            SetOperation::SetopUnion => "UNION",
            SetOperation::SetopIntersect => "INTERSECT",
            SetOperation::SetopExcept => "EXCEPT",
            _ => return Err(Refusal::unknown("this set operation")),
        };
        let (left, mut outputs) = self.select(left)?;
        let (right, mut others) = self.select(right)?;
        if outputs.len() != others.len() {
            return Err(Refusal::unknown(format!("{word} of different columns")));
        }
        let left = alike(left, &mut outputs, &others);
        let right = alike(right, &mut others, &outputs);
        for ((name, output), (_, other)) in outputs.iter_mut().zip(&others) {
            let is_collated = output.data_type.is_collatable();
            if output.data_type != other.data_type
                || (is_collated && output.collation != other.collation)
            {
                return Err(Refusal::new(
                    word,
                    format!(
                        "column {name} is {} in one query and {} in the other; cast one of them",
                        output.data_type, other.data_type
                    ),
                ));
            }
            output.is_nullable |= other.is_nullable;
            if output.scale != other.scale {
                output.scale = None;
            }
        }
        if operation != SetOperation::SetopUnion {
            return self.compared_rows(word, left, right, outputs, all);
        }
        let root = Operator::UnionAll(vec![left, right]);
        if all {
            Ok((root, outputs))
        } else {
            self.distinct_rows(root, outputs, word)
        }
    }

    // Of every distinct row let there be l in A and r in B. γ(A × {1} + B × {2}) counts both. Then
    // A INTERSECT B = σ(l > 0 ∧ r > 0), A EXCEPT B = σ(l > 0 ∧ r = 0), each row once; with ALL a row comes min(l, r) and
    // max(l − r, 0) times.
    fn compared_rows(
        &self,
        word: &str,
        left: Operator,
        right: Operator,
        outputs: Outputs,
        all: bool,
    ) -> Result<(Operator, Outputs), Refusal> {
        let width = outputs.len();
        let union = Operator::UnionAll(vec![marked(left, &outputs, 1), marked(right, &outputs, 2)]);
        let columns: Vec<Expression> = outputs
            .iter()
            .enumerate()
            .map(|(at, (_, output))| output.as_column(at))
            .collect();
        for ((name, _), column) in outputs.iter().zip(&columns) {
            self.require_identity(column, &format!("{word} over column {name}"))?;
        }
        let counted = Operator::Aggregate {
            input: Box::new(union),
            keys: columns.clone(),
            aggregates: vec![self.count_of_side(width, 1)?, self.count_of_side(width, 2)?],
        };
        let count = |side: usize| {
            let mut count = Expression::new(Kind::Column(width + side), TypeName::built_in("int8"));
            count.is_nullable = false;
            count
        };
        let (l, r) = (count(0), count(1));
        let is_intersection = word == "INTERSECT";
        let conditions = match (is_intersection, all) {
            (true, _) => vec![
                self.compared(">", l.clone(), integer(0))?,
                self.compared(">", r.clone(), integer(0))?,
            ],
            (false, true) => vec![self.compared(">", l.clone(), r.clone())?],
            (false, false) => vec![
                self.compared(">", l.clone(), integer(0))?,
                self.compared("=", r.clone(), integer(0))?,
            ],
        };
        let kept = conditions
            .into_iter()
            .fold(counted, |input, condition| Operator::Filter {
                input: Box::new(input),
                condition,
            });
        if !all {
            let root = Operator::Project {
                input: Box::new(kept),
                outputs: columns,
            };
            return Ok((root, outputs));
        }
        let times = if is_intersection {
            Expression {
                kind: Kind::Call {
                    name: "LEAST".to_owned(),
                    arguments: vec![l.clone(), r],
                },
                ..l
            }
        } else {
            self.compared("-", l, r)?
        };
        let shown = columns.iter().cloned().chain([times]);
        let repeated = Operator::Repeat {
            input: Box::new(Operator::Project {
                input: Box::new(kept),
                outputs: shown.collect(),
            }),
            times: width,
        };
        let root = Operator::Project {
            input: Box::new(repeated),
            outputs: columns,
        };
        Ok((root, outputs))
    }

    /// `count(*) FILTER (WHERE mark = side)`.
    fn count_of_side(&self, mark: usize, side: i32) -> Result<AggregateCall, Refusal> {
        let mark = integer(side).as_column(mark);
        Ok(AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            filter: Some(self.compared("=", mark, integer(side))?),
            result: TypeName::built_in("int8"),
            other: None,
        })
    }
}

/// Rows with a number behind them that says which side they are of.
fn marked(input: Operator, outputs: &Outputs, side: i32) -> Operator {
    let columns = outputs.iter().enumerate();
    let columns = columns.map(|(at, (_, output))| output.as_column(at));
    Operator::Project {
        input: Box::new(input),
        outputs: columns.chain([integer(side)]).collect(),
    }
}

fn integer(value: i32) -> Expression {
    let mut literal = Expression::new(Kind::Literal(value.to_string()), TypeName::built_in("int4"));
    literal.is_nullable = false;
    literal
}

/// A side whose columns are cast to the other side's types where `PostgreSQL` does so without saying.
fn alike(input: Operator, outputs: &mut Outputs, others: &Outputs) -> Operator {
    let mut columns = input.columns();
    let mut is_cast = false;
    for (column, ((_, output), (_, other))) in
        columns.iter_mut().zip(outputs.iter_mut().zip(others))
    {
        if !is_widened(&output.data_type, &other.data_type) {
            continue;
        }
        is_cast = true;
        let cast = Kind::Cast {
            operand: Box::new(column.clone()),
            target: other.data_type.to_string(),
        };
        // an integer has no digits after the point
        let scale = other.data_type.is("numeric").then_some(0);
        *column = Expression {
            kind: cast,
            data_type: other.data_type.clone(),
            scale,
            ..column.clone()
        };
        output.data_type.clone_from(&other.data_type);
        output.scale = scale;
    }
    if !is_cast {
        return input;
    }
    Operator::Project {
        input: Box::new(input),
        outputs: columns,
    }
}

fn is_widened(from: &TypeName, to: &TypeName) -> bool {
    let place = |data_type: &TypeName| {
        let name = data_type.built_in_name();
        name.and_then(|name| WIDER.iter().position(|other| *other == name))
    };
    match (place(from), place(to)) {
        (Some(from), Some(to)) => from < to,
        _ => from.is("varchar") && to.is("text"),
    }
}
