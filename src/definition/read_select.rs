//! SELECT and UNION: from the clauses of a statement to operators.

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, SelectStmt, SetOperation, WithClause};

use super::nodes::{content, required};
use super::scope::Scope;
use super::subqueries::{answered, reading};
use super::{Catalog, Expression, Operator, Query, Refusal};
use std::cell::RefCell;

/// How deep views and subqueries may lie in one another.
const DEEPEST: usize = 64;

/// Reads defining views with the facts of one catalog.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) catalog: &'a Catalog,
    depth: std::cell::Cell<usize>,
    /// What the queries outside of the subquery that is being read may name, the innermost last.
    pub(super) outside: RefCell<Vec<Scope>>,
    /// The queries of WITH that may be named, the innermost last.
    pub(super) named: RefCell<Vec<(String, Operator, Outputs)>>,
}

/// The columns of a SELECT: name, and the expression they were computed by (of which only type and the like matter to
/// whoever reads the result).
pub(super) type Outputs = Vec<(String, Expression)>;

impl<'a> Reader<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            depth: std::cell::Cell::new(0),
            outside: RefCell::default(),
            named: RefCell::default(),
        }
    }

    /// Reads the text of a view.
    pub(super) fn view(&self, text: &str) -> Result<Query, Refusal> {
        let parsed = pg_query::parse(text, 0)
            .map_err(|error| Refusal::new("the query", format!("it can't be parsed: {error}")))?;
        let [statement] = &parsed.protobuf.stmts[..] else {
            return Err(Refusal::unknown("more than one statement"));
        };
        let NodeEnum::SelectStmt(select) = content(required(statement.stmt.as_deref())?)? else {
            return Err(Refusal::unknown("a statement that is no SELECT"));
        };
        // a view names nothing of the query that reads it
        let (outside, named) = (self.outside.take(), self.named.take());
        let read = self.select(select);
        self.outside.replace(outside);
        self.named.replace(named);
        let (root, outputs) = read?;
        Ok(Query {
            root,
            columns: outputs.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// Reads a SELECT or a set operation.
    pub(super) fn select(&self, select: &SelectStmt) -> Result<(Operator, Outputs), Refusal> {
        if self.depth.get() >= DEEPEST {
            return Err(Refusal::new(
                "subqueries",
                "they lie too deep in one another",
            ));
        }
        self.depth.set(self.depth.get() + 1);
        let read = self.select_at_depth(select);
        self.depth.set(self.depth.get() - 1);
        read
    }

    fn select_at_depth(&self, select: &SelectStmt) -> Result<(Operator, Outputs), Refusal> {
        let SelectStmt {
            into_clause,
            group_distinct,
            window_clause,
            // the order of rows is no part of a table's contents
            sort_clause: _,
            limit_offset,
            limit_count,
            limit_option,
            locking_clause,
            with_clause,
            // looked at in the body
            distinct_clause: _,
            target_list: _,
            from_clause: _,
            where_clause: _,
            group_clause: _,
            having_clause: _,
            values_lists: _,
            op: _,
            all: _,
            larg: _,
            rarg: _,
        } = select;
        let refused = [
            (into_clause.is_some(), "INTO", "a view can't have it"),
            (
                limit_offset.is_some(),
                "OFFSET",
                "the rows left out depend on all others",
            ),
            (
                limit_count.is_some(),
                "LIMIT",
                "the rows cut off depend on all others",
            ),
            (
                !matches!(
                    LimitOption::try_from(*limit_option),
                    Ok(LimitOption::Default)
                ),
                "LIMIT",
                "the rows cut off depend on all others",
            ),
            (
                !window_clause.is_empty(),
                "WINDOW",
                "this version does not know it",
            ),
            (
                !locking_clause.is_empty(),
                "FOR UPDATE",
                "this version does not know it",
            ),
            (
                *group_distinct,
                "GROUP BY DISTINCT",
                "this version does not know it",
            ),
        ];
        if let Some((_, clause, reason)) = refused.into_iter().find(|(is_there, ..)| *is_there) {
            return Err(Refusal::new(clause, reason));
        }
        let known = self.named.borrow().len();
        if let Some(with) = with_clause {
            self.with(with)?;
        }
        let read = self.body(select);
        self.named.borrow_mut().truncate(known);
        read
    }

    /// Names the queries of WITH for those that follow.
    fn with(&self, clause: &WithClause) -> Result<(), Refusal> {
        let WithClause {
            ctes,
            recursive,
            location: _,
        } = clause;
        if *recursive {
            return Err(Refusal::new(
                "WITH RECURSIVE",
                "its rows depend on rows of itself",
            ));
        }
        for cte in ctes {
            let NodeEnum::CommonTableExpr(cte) = content(cte)? else {
                return Err(Refusal::unknown("this in WITH"));
            };
            let NodeEnum::SelectStmt(select) = content(required(cte.ctequery.as_deref())?)? else {
                return Err(Refusal::unknown("a query in WITH that is no SELECT"));
            };
            if cte.search_clause.is_some() || cte.cycle_clause.is_some() {
                return Err(Refusal::unknown("SEARCH or CYCLE"));
            }
            let (operator, mut outputs) = self.select(select)?;
            let renamed = super::nodes::names(&cte.aliascolnames)?;
            for (output, name) in outputs.iter_mut().zip(renamed) {
                name.clone_into(&mut output.0);
            }
            let named = (cte.ctename.clone(), operator, outputs);
            self.named.borrow_mut().push(named);
        }
        Ok(())
    }

    /// A SELECT without what is before and after it.
    fn body(&self, select: &SelectStmt) -> Result<(Operator, Outputs), Refusal> {
        let SelectStmt {
            distinct_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            having_clause,
            values_lists,
            op,
            all,
            larg,
            rarg,
            // looked at before
            into_clause: _,
            group_distinct: _,
            window_clause: _,
            sort_clause: _,
            limit_offset: _,
            limit_count: _,
            limit_option: _,
            locking_clause: _,
            with_clause: _,
        } = select;
        match SetOperation::try_from(*op) {
            Ok(SetOperation::SetopNone) if !values_lists.is_empty() => self.values(values_lists),
            Ok(SetOperation::SetopNone) => {
                let (input, scope) = self.cross_join_of(from_clause)?;
                let input = self.filtered(input, where_clause.as_deref(), &scope)?;
                let (root, outputs) = self.targets(
                    input,
                    &scope,
                    target_list,
                    group_clause,
                    having_clause.as_deref(),
                )?;
                self.distinct(root, outputs, distinct_clause)
            }
            Ok(SetOperation::SetopUnion) => {
                let (Some(left), Some(right)) = (larg, rarg) else {
                    return Err(Refusal::unknown("UNION of one query"));
                };
                self.union(left, right, *all)
            }
            Ok(SetOperation::SetopIntersect) => Err(Refusal::unknown("INTERSECT")),
            Ok(SetOperation::SetopExcept) => Err(Refusal::unknown("EXCEPT")),
            _ => Err(Refusal::unknown("this set operation")),
        }
    }

    fn filtered(
        &self,
        input: Operator,
        condition: Option<&Node>,
        scope: &Scope,
    ) -> Result<Operator, Refusal> {
        Ok(match condition {
            None => input,
            Some(condition) => {
                let mut pending = Vec::new();
                let condition = self.condition(condition, scope, &mut pending)?;
                let (input, answers) = answered(input, pending, &|value| Ok(value.clone()))?;
                Operator::Filter {
                    input: Box::new(input),
                    condition: reading(&condition, &answers),
                }
            }
        })
    }

    fn union(
        &self,
        left: &SelectStmt,
        right: &SelectStmt,
        all: bool,
    ) -> Result<(Operator, Outputs), Refusal> {
        let (left, mut outputs) = self.select(left)?;
        let (right, others) = self.select(right)?;
        for ((name, output), (_, other)) in outputs.iter_mut().zip(&others) {
            if output.data_type != other.data_type || output.collation != other.collation {
                return Err(Refusal::new(
                    "UNION",
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
        let root = Operator::UnionAll(vec![left, right]);
        if all {
            Ok((root, outputs))
        } else {
            self.distinct_rows(root, outputs, "UNION")
        }
    }

    fn distinct(
        &self,
        root: Operator,
        outputs: Outputs,
        clause: &[Node],
    ) -> Result<(Operator, Outputs), Refusal> {
        match clause {
            [] => Ok((root, outputs)),
            // plain DISTINCT is a list of one empty node
            [Node { node: None }] => self.distinct_rows(root, outputs, "DISTINCT"),
            _ => Err(Refusal::unknown("DISTINCT ON")),
        }
    }

    // DISTINCT is GROUP BY every column.
    fn distinct_rows(
        &self,
        root: Operator,
        outputs: Outputs,
        clause: &str,
    ) -> Result<(Operator, Outputs), Refusal> {
        let mut keys = Vec::new();
        for (position, (name, output)) in outputs.iter().enumerate() {
            self.require_identity(output, &format!("{clause} over column {name}"))?;
            keys.push(output.as_column(position));
        }
        let root = Operator::Aggregate {
            input: Box::new(root),
            keys,
            aggregates: Vec::new(),
        };
        Ok((root, outputs))
    }
}
