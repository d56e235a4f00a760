//! SELECT and UNION: from the clauses of a statement to operators.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, SetOperation, WithClause};

use super::answers::reading;
use super::nodes::{content, required};
use super::ordering::{shown, sorted};
use super::read_expression::Place;
use super::scope::Scope;
use super::targets::{Clauses, Computed};
use super::{Catalog, Expression, Kind, Limit, Operator, Query, Refusal};
use std::cell::RefCell;

/// How deep views and subqueries may lie in one another.
const DEEPEST: usize = 64;

/// How many operators a query may consist of, its views, subqueries and queries of WITH written out wherever they are named.
const MOST_OPERATORS: usize = 1_500;

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
        if root.names_outside() {
            return Err(super::freed::depends());
        }
        if root.overlooks_null() {
            return Err(Refusal::unknown("which of its values may be NULL"));
        }
        Ok(Query {
            root,
            columns: outputs.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// Reads a SELECT or a set operation.
    pub(super) fn select(&self, select: &SelectStmt) -> Result<(Operator, Outputs), Refusal> {
        // the order of rows is no part of a table's contents
        let computed = self.at_depth(select, false)?;
        let root = shown(computed.root, computed.outputs.len());
        Ok((root, computed.outputs))
    }

    /// Reads one whose order of rows matters.
    pub(super) fn in_order(&self, select: &SelectStmt) -> Result<Computed, Refusal> {
        self.at_depth(select, true)
    }

    fn at_depth(&self, select: &SelectStmt, is_ordered: bool) -> Result<Computed, Refusal> {
        if self.depth.get() >= DEEPEST {
            return Err(Refusal::new(
                "subqueries",
                "they lie too deep in one another",
            ));
        }
        self.depth.set(self.depth.get() + 1);
        let read = self.select_at_depth(select, is_ordered);
        self.depth.set(self.depth.get() - 1);
        let read = read?;
        if read.root.count() > MOST_OPERATORS {
            return Err(Refusal::new(
                "subqueries",
                "written out wherever views and queries of WITH are named, there are too many",
            ));
        }
        Ok(read)
    }

    fn select_at_depth(&self, select: &SelectStmt, is_ordered: bool) -> Result<Computed, Refusal> {
        let SelectStmt {
            into_clause,
            locking_clause,
            with_clause,
            // looked at in the body
            group_distinct: _,
            window_clause: _,
            sort_clause: _,
            limit_offset: _,
            limit_count: _,
            limit_option: _,
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
        if into_clause.is_some() {
            return Err(Refusal::new("INTO", "a view can't have it"));
        }
        if !locking_clause.is_empty() {
            return Err(Refusal::unknown("FOR UPDATE"));
        }
        let known = self.named.borrow().len();
        if let Some(with) = with_clause {
            self.with(with)?;
        }
        let read = self.body(select, is_ordered);
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

    /// A SELECT or a set operation without WITH.
    fn body(&self, select: &SelectStmt, is_ordered: bool) -> Result<Computed, Refusal> {
        let limit = self.limit(select)?;
        let computed = self.rows(select, is_ordered || limit.is_some())?;
        let Some(limit) = limit else {
            return Ok(computed);
        };
        let count = computed.outputs.len();
        Ok(Computed {
            root: self.first(computed.root, count, &[], &computed.order, limit)?,
            ..computed
        })
    }

    /// What there is before LIMIT, with what ORDER BY reads if that matters.
    fn rows(&self, select: &SelectStmt, is_ordered: bool) -> Result<Computed, Refusal> {
        let SelectStmt {
            distinct_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            op,
            all,
            larg,
            rarg,
            // looked at before
            into_clause: _,
            limit_offset: _,
            limit_count: _,
            limit_option: _,
            locking_clause: _,
            with_clause: _,
        } = select;
        // plain DISTINCT is a list of one empty node
        let on = match &distinct_clause[..] {
            [Node { node: None }] => &[],
            list => list,
        };
        let order = if is_ordered || !on.is_empty() {
            &sort_clause[..]
        } else {
            self.require_idle_order(sort_clause)?;
            &[]
        };
        let (root, outputs) = match SetOperation::try_from(*op) {
            Ok(SetOperation::SetopNone) if !values_lists.is_empty() => self.values(values_lists)?,
            Ok(SetOperation::SetopNone) => {
                let (input, scope) = self.cross_join_of(from_clause)?;
                let input = self.filtered(input, where_clause.as_deref(), &scope)?;
                let clauses = Clauses {
                    targets: target_list,
                    groups: group_clause,
                    is_group_distinct: *group_distinct,
                    having: having_clause.as_deref(),
                    windows: window_clause,
                    on,
                    order,
                };
                let computed = self.targets(input, &scope, &clauses)?;
                return self.distinct(computed, distinct_clause);
            }
            Ok(operation) => {
                let (Some(left), Some(right)) = (larg, rarg) else {
                    return Err(Refusal::unknown("a set operation of one query"));
                };
                self.set_operation(operation, left, right, *all)?
            }
            Err(_) => return Err(Refusal::unknown("this set operation")),
        };
        self.ordered(root, outputs, order)
    }

    /// Rows whose ORDER BY can but name columns.
    fn ordered(
        &self,
        root: Operator,
        outputs: Outputs,
        order: &[Node],
    ) -> Result<Computed, Refusal> {
        let nothing = Scope::default();
        let columns = outputs.iter().enumerate();
        let columns = columns.map(|(at, (name, output))| (name.clone(), output.as_column(at)));
        let columns: Outputs = columns.collect();
        let mut places = Vec::new();
        for key in order {
            let (value, direction) = sorted(key)?;
            let value = self.sort_value(value, &columns, &mut Place::plain(&nothing))?;
            match value.kind {
                Kind::Column(at) => places.push((at, direction)),
                _ => return Err(Refusal::unknown("this in ORDER BY")),
            }
        }
        Ok(Computed {
            root,
            outputs,
            on: Vec::new(),
            order: places,
        })
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
                let (input, answers) = self.all_answered(input, &pending)?;
                Operator::Filter {
                    input: Box::new(input),
                    condition: reading(&condition, &answers),
                }
            }
        })
    }

    fn distinct(&self, computed: Computed, clause: &[Node]) -> Result<Computed, Refusal> {
        let count = computed.outputs.len();
        match clause {
            [] => Ok(computed),
            [Node { node: None }] if computed.root.width() == count => {
                let (root, outputs) =
                    self.distinct_rows(computed.root, computed.outputs, "DISTINCT")?;
                Ok(Computed {
                    root,
                    outputs,
                    ..computed
                })
            }
            [Node { node: None }] => Err(Refusal::unknown("this ORDER BY with DISTINCT")),
            _ => {
                let limit = Limit {
                    count: Some(1),
                    offset: 0,
                    with_ties: false,
                };
                let (on, order) = (&computed.on, &computed.order);
                Ok(Computed {
                    root: self.first(computed.root, count, on, order, limit)?,
                    ..computed
                })
            }
        }
    }

    // DISTINCT is GROUP BY every column.
    pub(super) fn distinct_rows(
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
