//! FROM: base tables, views, subqueries, and inner joins of them.

use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, JoinExpr, JoinType, Node, RangeSubselect, RangeVar};

use super::answers::reading;
use super::dependent::itself;
use super::lateral::is_dependent;
use super::nodes::{alias, content, kind_of, names, required};
use super::ordering::shown;
use super::read_select::{Outputs, Reader};
use super::scope::{Item, Presence, Scope};
use super::set_functions::one_row;
use super::subqueries::Pending;
use super::{Expression, Kind, Operator, Query, Refusal, Relation, RelationKind};

/// What an item of FROM gives, and how its columns are named.
pub(super) type Source = (Operator, Scope);

impl Reader<'_> {
    /// The cross join of everything that FROM lists.
    pub(super) fn cross_join_of(&self, items: &[Node]) -> Result<Source, Refusal> {
        let Some((first, others)) = items.split_first() else {
            return Ok((one_row(), Scope::default()));
        };
        others.iter().try_fold(self.source(first)?, |left, item| {
            if is_dependent(item)? {
                return self.beside(left, item, JoinType::JoinInner, None);
            }
            Ok(cross(left, self.source(item)?))
        })
    }

    pub(super) fn source(&self, item: &Node) -> Result<Source, Refusal> {
        match content(item)? {
            NodeEnum::RangeVar(table) => self.named_relation(table),
            NodeEnum::RangeSubselect(subquery) => self.subquery(subquery),
            NodeEnum::JoinExpr(join) => self.join(join),
            NodeEnum::RangeFunction(_) => {
                let nothing = (one_row(), Scope::default());
                self.beside(nothing, item, JoinType::JoinInner, None)
            }
            other => Err(Refusal::unknown(kind_of(other))),
        }
    }

    fn named_relation(&self, table: &RangeVar) -> Result<Source, Refusal> {
        let RangeVar {
            catalogname,
            schemaname,
            relname,
            // ONLY is the same as without, since tables with children are refused
            inh: _,
            relpersistence: _,
            alias: given,
            location: _,
        } = table;
        if catalogname.is_empty() && schemaname.is_empty() {
            let known = self.named.borrow();
            if let Some((name, operator, outputs)) =
                known.iter().rev().find(|(name, ..)| name == relname)
            {
                return Ok((
                    operator.clone(),
                    named(name, given.as_ref(), as_columns(outputs))?,
                ));
            }
        }
        if !catalogname.is_empty() || schemaname.is_empty() {
            return Err(Refusal::new(
                format!("{relname} in FROM"),
                "it is no relation of a named schema",
            ));
        }
        let relation = self
            .catalog
            .relation(schemaname, relname)
            .ok_or_else(|| Refusal::unknown(format!("relation {schemaname}.{relname}")))?;
        let refuse = |reason: &str| Err(Refusal::new(format!("{schemaname}.{relname}"), reason));
        if relation.has_row_security {
            return refuse("row security hides rows of it from the owner");
        }
        if relation.has_children {
            return refuse("other tables inherit from it");
        }
        let operator = match &relation.kind {
            RelationKind::Table | RelationKind::Partitioned => {
                Operator::Scan(self.with_remarks(relation))
            }
            RelationKind::View(text) => {
                let Query { root, columns } = self.view(text)?;
                if columns.len() != relation.columns.len() {
                    return refuse("its columns are not those of its query");
                }
                root
            }
            RelationKind::Other(kind) => {
                return refuse(&format!("changes of a {kind} are not logged"));
            }
        };
        let columns = relation_columns(&self.with_remarks(relation));
        Ok((operator, named(relname, given.as_ref(), columns)?))
    }

    /// A relation whose enumerations are known as such.
    fn with_remarks(&self, relation: &Relation) -> Relation {
        let mut relation = relation.clone();
        for column in &mut relation.columns {
            column.data_type = self.remarked(column.data_type.clone());
        }
        relation
    }

    fn subquery(&self, subquery: &RangeSubselect) -> Result<Source, Refusal> {
        let RangeSubselect {
            lateral,
            subquery,
            alias: given,
        } = subquery;
        if *lateral {
            return Err(Refusal::unknown("LATERAL"));
        }
        let NodeEnum::SelectStmt(select) = content(required(subquery.as_deref())?)? else {
            return Err(Refusal::unknown("a subquery that is no SELECT"));
        };
        let (operator, outputs) = self.select(select)?;
        Ok((operator, named("", given.as_ref(), as_columns(&outputs))?))
    }

    fn join(&self, join: &JoinExpr) -> Result<Source, Refusal> {
        let JoinExpr {
            jointype,
            is_natural,
            larg,
            rarg,
            using_clause,
            join_using_alias,
            quals,
            alias,
            rtindex: _,
        } = join;
        let Ok(
            kind @ (JoinType::JoinInner
            | JoinType::JoinLeft
            | JoinType::JoinRight
            | JoinType::JoinFull),
        ) = JoinType::try_from(*jointype)
        else {
            return Err(Refusal::unknown("this kind of join"));
        };
        if *is_natural || join_using_alias.is_some() {
            return Err(Refusal::unknown("a join with an alias"));
        }
        let mut left = self.source(required(larg.as_deref())?)?;
        let other = required(rarg.as_deref())?;
        let may_depend = matches!(kind, JoinType::JoinInner | JoinType::JoinLeft);
        if may_depend && using_clause.is_empty() && is_dependent(other)? {
            let (operator, scope) = self.beside(left, other, kind, quals.as_deref())?;
            return Ok((operator, renamed(scope, alias.as_ref())?));
        }
        let mut right = self.source(other)?;
        if matches!(kind, JoinType::JoinRight | JoinType::JoinFull) {
            left.1.may_be_missing();
        }
        if matches!(kind, JoinType::JoinLeft | JoinType::JoinFull) {
            right.1.may_be_missing();
        }
        let widths = (left.0.width(), right.0.width());
        let mut conditions = Vec::new();
        let mut merged: Vec<(String, Expression)> = Vec::new();
        for name in names(using_clause)? {
            let column = left.1.unqualified(name)?.clone();
            let other = super::scope::shifted(right.1.unqualified(name)?, widths.0);
            let value = match kind {
                JoinType::JoinRight => other.clone(),
                JoinType::JoinFull => either(&column, &other)?,
                _ => column.clone(),
            };
            conditions.push(self.compared("=", column, other)?);
            merged.push((name.to_owned(), value));
        }
        let mut scope = left.1.followed_by(widths.0, right.1);
        if !merged.is_empty() {
            let is_merged = |name: &str| merged.iter().any(|(other, _)| other == name);
            scope.unqualified.retain(|(name, _)| !is_merged(name));
            // merged columns come first, as an alias of the join counts them
            merged.append(&mut scope.unqualified);
            scope.unqualified = merged;
        }
        let mut pending = Vec::new();
        if let Some(quals) = quals {
            let quals = self.condition(quals, &scope, &mut pending)?;
            conditions.extend(quals.conjuncts());
        }
        let operator = if pending.is_empty() {
            joined(kind, left.0, right.0, conditions)
        } else {
            self.joined_by_answers(kind, left.0, right.0, &conditions, &pending)?
        };
        Ok((operator, renamed(scope, alias.as_ref())?))
    }

    // A ⋈ B by conditions that ask subqueries is σ over A × B with the answers; A ⟕ B, if each subquery depends on one side
    // alone, is A' ⟕ B' of the sides with the answers.
    fn joined_by_answers(
        &self,
        kind: JoinType,
        left: Operator,
        right: Operator,
        conditions: &[Expression],
        pending: &[Pending],
    ) -> Result<Operator, Refusal> {
        let widths = (left.width(), right.width());
        if kind == JoinType::JoinInner {
            let both = Operator::Join(vec![left, right]);
            let (both, answers) = self.all_answered(both, pending)?;
            let conditions = conditions.iter();
            let conditions = conditions.map(|condition| reading(condition, &answers));
            return Ok(shown(
                both.filtered(conditions.collect()),
                widths.0 + widths.1,
            ));
        }
        let is_of_left = |number: usize| pending[number].names(&|at| at < widths.0);
        let (left, of_left) = self.answered(left, pending, &is_of_left, &|value| {
            require_one_side(value, |at| at < widths.0)
        })?;
        let (right, of_right) =
            self.answered(right, pending, &|number| !is_of_left(number), &|value| {
                Ok(require_one_side(value, |at| at >= widths.0)?.moved(&|at| at - widths.0))
            })?;
        let further = left.width();
        let answers: Vec<Expression> = (0..pending.len())
            .map(|number| {
                if is_of_left(number) {
                    of_left[number].clone()
                } else {
                    super::scope::shifted(&of_right[number], further)
                }
            })
            .collect();
        let place = |at: usize| {
            if at < widths.0 {
                at
            } else {
                at - widths.0 + further
            }
        };
        let conditions = conditions
            .iter()
            .map(|condition| reading(&condition.moved(&place), &answers))
            .collect();
        let joined = joined(kind, left, right, conditions);
        let columns = joined.columns();
        Ok(Operator::Project {
            outputs: (0..widths.0 + widths.1)
                .map(|at| columns[place(at)].clone())
                .collect(),
            input: Box::new(joined),
        })
    }
}

/// Refuses what reads columns of the other side of an outer join.
fn require_one_side(
    value: &Expression,
    is_of_it: impl Fn(usize) -> bool,
) -> Result<Expression, Refusal> {
    if value.columns().into_iter().all(is_of_it) {
        return itself(value);
    }
    Err(Refusal::new(
        "a subquery in ON",
        "it depends on rows of both sides of an outer join",
    ))
}

/// The operator of a join whose conditions are over the left side's columns and then the right one's.
fn joined(
    kind: JoinType,
    left: Operator,
    right: Operator,
    conditions: Vec<Expression>,
) -> Operator {
    let (left_width, right_width) = (left.width(), right.width());
    match kind {
        JoinType::JoinLeft | JoinType::JoinFull => Operator::Outer {
            left: Box::new(left),
            right: Box::new(right),
            conditions,
            is_full: kind == JoinType::JoinFull,
            is_dependent: false,
        },
        JoinType::JoinRight => {
            let swapped = swapped(left_width, right_width);
            let conditions = conditions.iter();
            let input = Operator::Outer {
                left: Box::new(right),
                right: Box::new(left),
                conditions: conditions.map(|one| one.moved(&swapped)).collect(),
                is_full: false,
                is_dependent: false,
            };
            in_first_order(input, &swapped)
        }
        _ => conditions
            .into_iter()
            .fold(Operator::Join(vec![left, right]), |input, condition| {
                Operator::Filter {
                    input: Box::new(input),
                    condition,
                }
            }),
    }
}

/// Where columns are once two sides of such widths have changed places, or where they were before.
fn swapped(left_width: usize, right_width: usize) -> impl Fn(usize) -> usize {
    move |at| {
        if at < left_width {
            at + right_width
        } else {
            at - left_width
        }
    }
}

/// The columns of two sides that have changed places, as they were.
fn in_first_order(input: Operator, swapped: &dyn Fn(usize) -> usize) -> Operator {
    let columns = input.columns();
    let places = 0..columns.len();
    Operator::Project {
        outputs: places.map(|at| columns[swapped(at)].clone()).collect(),
        input: Box::new(input),
    }
}

/// The column that FULL JOIN … USING merges of two.
fn either(left: &Expression, right: &Expression) -> Result<Expression, Refusal> {
    if left.data_type != right.data_type || left.collation != right.collation {
        return Err(Refusal::unknown("FULL JOIN … USING over different types"));
    }
    Ok(Expression {
        kind: Kind::Call {
            name: "COALESCE".to_owned(),
            arguments: vec![left.clone(), right.clone()],
        },
        is_nullable: true,
        ..left.or(right)
    })
}

/// What can be named of a join that has an alias: only that.
fn renamed(scope: Scope, given: Option<&Alias>) -> Result<Scope, Refusal> {
    match given {
        None => Ok(scope),
        Some(given) => named("", Some(given), scope.unqualified),
    }
}

fn cross(left: Source, right: Source) -> Source {
    let scope = left.1.followed_by(left.0.width(), right.1);
    (Operator::Join(vec![left.0, right.0]), scope)
}

pub(super) fn named(
    own: &str,
    given: Option<&Alias>,
    mut columns: Vec<(String, Expression)>,
) -> Result<Scope, Refusal> {
    let (name, renamed) = match given {
        Some(given) => alias(given)?,
        None => (own, Vec::new()),
    };
    for (column, other) in columns.iter_mut().zip(renamed) {
        other.clone_into(&mut column.0);
    }
    Ok(Scope {
        items: vec![Item {
            alias: name.to_owned(),
            columns: columns.clone(),
            presence: Presence::Certain,
        }],
        unqualified: columns,
    })
}

fn relation_columns(relation: &Relation) -> Vec<(String, Expression)> {
    let names = relation.columns.iter().map(|column| column.name.clone());
    names.zip(relation.column_expressions()).collect()
}

pub(super) fn as_columns(outputs: &Outputs) -> Vec<(String, Expression)> {
    let numbered = outputs.iter().enumerate();
    numbered
        .map(|(at, (name, output))| (name.clone(), output.as_column(at)))
        .collect()
}
