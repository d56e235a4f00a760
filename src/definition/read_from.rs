//! FROM: base tables, views, subqueries, and inner joins of them.

use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, JoinExpr, JoinType, Node, RangeSubselect, RangeVar};

use super::nodes::{alias, content, kind_of, names, required};
use super::read_select::Reader;
use super::scope::{Item, Scope};
use super::{Column, Expression, Kind, Operator, Query, Refusal, Relation, RelationKind};

/// What an item of FROM gives, and how its columns are named.
pub(super) type Source = (Operator, Scope);

impl Reader<'_> {
    /// The cross join of everything that FROM lists.
    pub(super) fn cross_join_of(&self, items: &[Node]) -> Result<Source, Refusal> {
        let mut sources = items.iter().map(|item| self.source(item));
        let first = sources
            .next()
            .ok_or_else(|| Refusal::new("SELECT without FROM", "there is no base table"))??;
        sources.try_fold(first, |left, right| Ok(cross(left, right?)))
    }

    fn source(&self, item: &Node) -> Result<Source, Refusal> {
        match content(item)? {
            NodeEnum::RangeVar(table) => self.named_relation(table),
            NodeEnum::RangeSubselect(subquery) => self.subquery(subquery),
            NodeEnum::JoinExpr(join) => self.join(join),
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
            RelationKind::Table | RelationKind::Partitioned => Operator::Scan(relation.clone()),
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
        let columns = relation_columns(relation);
        Ok((operator, named(relname, given.as_ref(), columns)?))
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
        let columns = outputs
            .into_iter()
            .enumerate()
            .map(|(position, (name, output))| (name, output.as_column(position)))
            .collect();
        Ok((operator, named("", given.as_ref(), columns)?))
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
        match JoinType::try_from(*jointype) {
            Ok(JoinType::JoinInner) => {}
            Ok(JoinType::JoinLeft | JoinType::JoinRight | JoinType::JoinFull) => {
                return Err(Refusal::unknown("outer join"));
            }
            _ => return Err(Refusal::unknown("this kind of join")),
        }
        if *is_natural || alias.is_some() || join_using_alias.is_some() {
            return Err(Refusal::unknown("a join with an alias"));
        }
        let left = self.source(required(larg.as_deref())?)?;
        let right = self.source(required(rarg.as_deref())?)?;
        let width = left.0.width();
        let mut condition = Vec::new();
        let mut merged = Vec::new();
        for name in names(using_clause)? {
            let column = left.1.unqualified(name)?.clone();
            let other = super::scope::shifted(right.1.unqualified(name)?, width);
            condition.push(self.compared("=", column, other)?);
            merged.push(name);
        }
        let right_scope = Scope {
            items: right.1.items,
            unqualified: right
                .1
                .unqualified
                .into_iter()
                .filter(|(name, _)| !merged.contains(&name.as_str()))
                .collect(),
        };
        let (mut operator, scope) = cross(left, (right.0, right_scope));
        if let Some(quals) = quals {
            condition.push(self.expression(quals, &scope)?);
        }
        for condition in condition {
            operator = Operator::Filter {
                input: Box::new(operator),
                condition,
            };
        }
        Ok((operator, scope))
    }
}

fn cross(left: Source, right: Source) -> Source {
    let scope = left.1.followed_by(left.0.width(), right.1);
    (Operator::Join(vec![left.0, right.0]), scope)
}

fn named(
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
        }],
        unqualified: columns,
    })
}

fn relation_columns(relation: &Relation) -> Vec<(String, Expression)> {
    let described = |(position, column): (usize, &Column)| {
        let expression = Expression {
            kind: Kind::Column(position),
            data_type: column.data_type.clone(),
            collation: column.collation.clone(),
            scale: column.scale(),
            is_nullable: !column.is_not_null,
        };
        (column.name.clone(), expression)
    };
    relation.columns.iter().enumerate().map(described).collect()
}
