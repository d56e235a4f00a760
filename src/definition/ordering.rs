//! ORDER BY where it matters: with DISTINCT ON and LIMIT.

use std::borrow::Cow;
use std::collections::BTreeSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, ColumnRef, LimitOption, Node, SelectStmt, SortBy, SortByDir, SortByNulls, a_const,
};

use super::constants::whole_number;
use super::nodes::{content, names, required};
use super::read_expression::Place;
use super::read_select::{Outputs, Reader};
use super::scope::Scope;
use super::uniqueness::determine;
use super::{Expression, FunctionKind, Kind, Limit, Operator, Refusal};

/// Beyond any number of rows that are worth keeping.
const MOST_ROWS: i64 = 1_000_000_000;

/// What an element of ORDER BY orders by, and the direction as written.
pub(super) fn sorted(key: &Node) -> Result<(&Node, String), Refusal> {
    let NodeEnum::SortBy(key) = content(key)? else {
        return Err(Refusal::unknown("this in ORDER BY"));
    };
    let SortBy {
        node,
        sortby_dir,
        sortby_nulls,
        use_op,
        location: _,
    } = &**key;
    let direction = match SortByDir::try_from(*sortby_dir) {
        Ok(SortByDir::SortbyDefault | SortByDir::SortbyAsc) if use_op.is_empty() => "",
        Ok(SortByDir::SortbyDesc) if use_op.is_empty() => " DESC",
        _ => return Err(Refusal::unknown("ORDER BY … USING")),
    };
    let nulls = match SortByNulls::try_from(*sortby_nulls) {
        Ok(SortByNulls::SortbyNullsFirst) => " NULLS FIRST",
        Ok(SortByNulls::SortbyNullsLast) => " NULLS LAST",
        _ => "",
    };
    Ok((required(node.as_deref())?, format!("{direction}{nulls}")))
}

impl Reader<'_> {
    /// An element of ORDER BY or DISTINCT ON: a position or name of an output, or an expression.
    pub(super) fn sort_value(
        &self,
        node: &Node,
        outputs: &Outputs,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let value = match content(node)? {
            NodeEnum::AConst(AConst {
                val: Some(a_const::Val::Ival(number)),
                ..
            }) => at_position(number.ival, outputs)?.1.clone(),
            NodeEnum::ColumnRef(column) if column.fields.len() == 1 => {
                self.named_output(column, outputs, place)?
            }
            _ => self.read(node, place)?,
        };
        self.require_sorted(&value)?;
        Ok(value)
    }

    // A name means an output before it means a column. Servers that do not know that of their own views print such names
    // for columns.
    fn named_output(
        &self,
        column: &ColumnRef,
        outputs: &Outputs,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let name = names(&column.fields)?[0];
        let of_input = place.scope.named(name)?;
        let mut of_outputs = outputs.iter().filter(|(other, _)| other == name);
        match (of_outputs.next(), of_outputs.next(), of_input) {
            (Some((_, output)), None, None) => Ok(output.clone()),
            (Some((_, output)), None, Some(input)) if output == input => Ok(output.clone()),
            (None, _, _) => self.column_named(column, place.scope),
            _ => Err(Refusal::new(
                format!("ORDER BY {name}"),
                "whether the column or the output of this name is meant can't be told",
            )),
        }
    }

    /// Refuses what has no order that we know.
    pub(super) fn require_sorted(&self, value: &Expression) -> Result<(), Refusal> {
        if value.data_type.is_collatable() && value.collation.is_none() {
            return Err(Refusal::new(
                "ORDER BY",
                "the collation can't be told; add COLLATE",
            ));
        }
        self.require_operator("<", value, value)
    }

    /// Refuses an ORDER BY that may change which rows there are: where it calls a function that gives sets.
    pub(super) fn require_idle_order(&self, order: &[Node]) -> Result<(), Refusal> {
        let text = format!("{order:?}");
        let gives_set = self.catalog.functions.iter().any(|((_, name, _), fact)| {
            fact.kind == FunctionKind::SetReturning && text.contains(&format!("sval: {name:?}"))
        });
        if text.contains("FuncCall") && gives_set {
            return Err(Refusal::new("ORDER BY", "a function in it may give a set"));
        }
        Ok(())
    }

    /// LIMIT and OFFSET, if there are any.
    pub(super) fn limit(&self, select: &SelectStmt) -> Result<Option<Limit>, Refusal> {
        let with_ties = match LimitOption::try_from(select.limit_option) {
            Ok(LimitOption::Default | LimitOption::Count | LimitOption::Undefined) => false,
            Ok(LimitOption::WithTies) => true,
            Err(_) => return Err(Refusal::unknown("this form of LIMIT")),
        };
        let count = self.rows_of(select.limit_count.as_deref(), "LIMIT")?;
        let offset = self.rows_of(select.limit_offset.as_deref(), "OFFSET")?;
        if count.is_none() && offset.is_none_or(|offset| offset == 0) {
            return Ok(None);
        }
        Ok(Some(Limit {
            count,
            offset: offset.unwrap_or(0),
            with_ties: with_ties && count.is_some(),
        }))
    }

    // ∃ of the first n rows of X is ∃ X, unless n is 0
    /// A subquery of which it is asked whether it gives rows, without LIMIT where that makes no difference.
    pub(super) fn without_idle_limit<'a>(
        &self,
        select: &'a SelectStmt,
    ) -> Result<Cow<'a, SelectStmt>, Refusal> {
        Ok(match self.limit(select)? {
            Some(Limit {
                count: Some(1..) | None,
                offset: 0,
                ..
            }) => Cow::Owned(SelectStmt {
                limit_count: None,
                limit_offset: None,
                limit_option: LimitOption::Default.into(),
                ..select.clone()
            }),
            _ => Cow::Borrowed(select),
        })
    }

    fn rows_of(&self, node: Option<&Node>, clause: &str) -> Result<Option<u64>, Refusal> {
        let Some(node) = node else { return Ok(None) };
        let value = self.expression(node, &Scope::default())?;
        match whole_number(&value, clause)? {
            None => Ok(None),
            Some(rows) if (0..=MOST_ROWS).contains(&rows) => Ok(rows.try_into().ok()),
            Some(_) => Err(Refusal::new(clause, "it is no number of rows")),
        }
    }

    /// The first rows of a projection, of each key if there are any, where that leaves no choice.
    ///
    /// `keys` and `order` are positions of its columns, of which so many are shown.
    pub(super) fn first(
        &self,
        root: Operator,
        shown: usize,
        keys: &[usize],
        order: &[(usize, String)],
        limit: Limit,
    ) -> Result<Operator, Refusal> {
        let clause = if keys.is_empty() {
            "LIMIT"
        } else {
            "DISTINCT ON"
        };
        let columns = root.columns();
        for key in keys {
            self.require_identity(&columns[*key], clause)?;
        }
        let sorted: BTreeSet<usize> = keys
            .iter()
            .copied()
            .chain(order.iter().map(|(at, _)| *at))
            .collect();
        let takes_all_equals = limit.with_ties && limit.offset == 0;
        if !takes_all_equals && !self.leaves_no_choice(&root, shown, &sorted) {
            return Err(Refusal::new(
                clause,
                if order.is_empty() && keys.is_empty() {
                    "which rows it takes depends on the order in which they are read; add ORDER BY"
                } else {
                    "which of the rows that ORDER BY takes for equal it takes depends on the order in which they are read; order by a unique key, too"
                },
            ));
        }
        let ordered = order.iter();
        let ordered = ordered.map(|(at, direction)| (columns[*at].clone(), direction.clone()));
        Ok(Operator::First {
            order: ordered.collect(),
            keys: keys.iter().map(|key| columns[*key].clone()).collect(),
            input: Box::new(root),
            limit,
        })
    }

    /// Whether rows that are equal in some columns are one, or else the same in all that is shown.
    fn leaves_no_choice(&self, root: &Operator, shown: usize, sorted: &BTreeSet<usize>) -> bool {
        if determine(root, sorted) {
            return true;
        }
        let columns = root.columns();
        let same = |at: usize| {
            sorted.contains(&at) && self.require_identity(&columns[at], "ORDER BY").is_ok()
        };
        let Operator::Project { outputs, .. } = root else {
            return (0..shown).all(same);
        };
        let known: BTreeSet<usize> = sorted
            .iter()
            .filter(|at| same(**at))
            .filter_map(|at| match outputs[*at].kind {
                Kind::Column(column) => Some(column),
                _ => None,
            })
            .collect();
        (0..shown).all(|at| same(at) || outputs[at].columns().iter().all(|at| known.contains(at)))
    }
}

/// The output that a number means.
fn at_position(number: i32, outputs: &Outputs) -> Result<&(String, Expression), Refusal> {
    usize::try_from(number - 1)
        .ok()
        .and_then(|position| outputs.get(position))
        .ok_or_else(|| Refusal::unknown("this position in ORDER BY"))
}

/// The first columns of an operator.
pub(super) fn shown(operator: Operator, count: usize) -> Operator {
    if operator.width() == count {
        return operator;
    }
    let mut outputs = operator.columns();
    outputs.truncate(count);
    Operator::Project {
        input: Box::new(operator),
        outputs,
    }
}
