//! GROUP BY, with GROUPING SETS, ROLLUP and CUBE.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, CoercionForm, GroupingFunc, GroupingSet, GroupingSetKind, Node, RowExpr, a_const,
};

use super::nodes::content;
use super::read_expression::Place;
use super::read_select::{Outputs, Reader};
use super::{AggregateCall, Expression, Kind, Operator, Refusal, TypeName};

/// Each grouping set is a grouping of its own in the statement.
const MOST_SETS: usize = 32;

/// What is grouped by: all keys, and for every grouping set which of them it has.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) all: Vec<Expression>,
    sets: Vec<Vec<usize>>,
}

impl Reader<'_> {
    /// The keys of GROUP BY.
    pub(super) fn group_keys(
        &self,
        groups: &[Node],
        is_distinct: bool,
        outputs: &Outputs,
        place: &mut Place<'_>,
    ) -> Result<Keys, Refusal> {
        let mut keys = Keys {
            all: Vec::new(),
            sets: Vec::new(),
        };
        for set in product(groups)? {
            let mut places = Vec::new();
            for group in set {
                let key = place.inside(|place| self.group_key(group, outputs, place))?;
                let known = keys.all.iter().position(|other| *other == key);
                let place = known.unwrap_or_else(|| {
                    keys.all.push(key);
                    keys.all.len() - 1
                });
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            places.sort_unstable();
            if !is_distinct || !keys.sets.contains(&places) {
                keys.sets.push(places);
            }
        }
        let is_constant = |key: &Expression| {
            key.columns().is_empty() && !key.any(&mut |part| matches!(part.kind, Kind::Subquery(_)))
        };
        if keys.sets.len() > 1 && keys.all.iter().any(is_constant) {
            return Err(Refusal::unknown("a constant in GROUPING SETS"));
        }
        Ok(keys)
    }

    fn group_key(
        &self,
        group: &Node,
        outputs: &Outputs,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        match content(group)? {
            // a bare number is a position in the select list
            NodeEnum::AConst(AConst {
                val: Some(a_const::Val::Ival(number)),
                ..
            }) => usize::try_from(number.ival - 1)
                .ok()
                .and_then(|position| outputs.get(position))
                .map(|(_, output)| output.clone())
                .ok_or_else(|| Refusal::unknown("this position in GROUP BY")),
            _ => self.read(group, place),
        }
    }

    /// `GROUPING(…)`: noted with what it asks of.
    pub(super) fn grouping_call(
        &self,
        call: &GroupingFunc,
        place: &mut Place<'_>,
    ) -> Result<Expression, Refusal> {
        let GroupingFunc {
            xpr: _,
            args,
            refs: _,
            agglevelsup: _,
            location: _,
        } = call;
        let asked = place.inside(|place| {
            let asked = args.iter().map(|argument| self.read(argument, place));
            asked.collect::<Result<Vec<_>, _>>()
        })?;
        let Some(groupings) = place.groupings.as_deref_mut() else {
            return Err(Refusal::unknown("GROUPING() in this place"));
        };
        let known = groupings.iter().position(|other| *other == asked);
        let position = known.unwrap_or_else(|| {
            groupings.push(asked);
            groupings.len() - 1
        });
        let mut value = Expression::new(Kind::Grouping(position), TypeName::built_in("int4"));
        value.is_nullable = false;
        Ok(value)
    }
}

impl Keys {
    /// `PostgreSQL` accepts columns outside GROUP BY only if they depend on a primary key that every grouping set has. As
    /// further keys they leave the groups as they are.
    pub(super) fn add_dependent_columns<'a>(
        &mut self,
        computed: impl Iterator<Item = &'a Expression>,
    ) {
        for expression in computed {
            let _ = expression.rewritten(&mut |part| {
                if self.all.contains(part) {
                    return Some(part.clone());
                }
                if matches!(part.kind, Kind::Column(_)) {
                    let place = self.all.len();
                    self.all.push(part.clone());
                    for set in &mut self.sets {
                        set.push(place);
                    }
                }
                None
            });
        }
    }

    /// Lets keys read answers of subqueries where they are.
    pub(super) fn reading(&mut self, answer: &dyn Fn(&Expression) -> Expression) {
        for key in &mut self.all {
            *key = answer(key);
        }
    }

    // γ GROUPING SETS (s₁, s₂, …) X = Σ π(γ sᵢ X), where π shows keys that are not in sᵢ as NULL
    /// All groups: their keys, the aggregates, and what each GROUPING says of keys as they are named there.
    pub(super) fn grouped(
        &self,
        input: Operator,
        mut aggregates: Vec<AggregateCall>,
        groupings: &[Vec<Expression>],
        named: &Self,
    ) -> Result<Operator, Refusal> {
        if self.all.is_empty() && aggregates.is_empty() {
            // one row must come of something
            aggregates.push(AggregateCall::of_rows());
        }
        if let ([set], []) = (&self.sets[..], groupings)
            && set.len() == self.all.len()
        {
            return Ok(Operator::Aggregate {
                input: Box::new(input),
                keys: self.all.clone(),
                aggregates,
            });
        }
        let arms = self
            .sets
            .iter()
            .map(|set| self.of_set(set, &input, &aggregates, groupings, named))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(match <[Operator; 1]>::try_from(arms) {
            Ok([arm]) => arm,
            Err(arms) => Operator::UnionAll(arms),
        })
    }

    fn of_set(
        &self,
        set: &[usize],
        input: &Operator,
        aggregates: &[AggregateCall],
        groupings: &[Vec<Expression>],
        named: &Self,
    ) -> Result<Operator, Refusal> {
        let mut aggregates = aggregates.to_vec();
        let shown = aggregates.len();
        if set.is_empty() && aggregates.is_empty() {
            aggregates.push(AggregateCall::of_rows());
        }
        let keys: Vec<Expression> = set.iter().map(|key| self.all[*key].clone()).collect();
        let mut outputs: Vec<Expression> = self
            .all
            .iter()
            .enumerate()
            .map(
                |(key, value)| match set.iter().position(|other| *other == key) {
                    Some(place) => value.as_column(place),
                    None => null_like(value),
                },
            )
            .collect();
        let values = aggregates[..shown].iter().enumerate();
        outputs.extend(values.map(|(at, call)| call.value().as_column(keys.len() + at)));
        for asked in groupings {
            outputs.push(named.missing_of(asked, set)?);
        }
        Ok(Operator::Project {
            input: Box::new(Operator::Aggregate {
                input: Box::new(input.clone()),
                keys,
                aggregates,
            }),
            outputs,
        })
    }

    /// The keys that are in each of the grouping sets.
    pub(super) fn in_all_sets(&self) -> Vec<&Expression> {
        let keys = self.all.iter().enumerate();
        keys.filter(|(key, _)| self.sets.iter().all(|set| set.contains(key)))
            .map(|(_, value)| value)
            .collect()
    }

    /// What GROUPING says in a grouping set: a bit for each key, the last one the lowest, set if the key is not in it.
    fn missing_of(&self, asked: &[Expression], set: &[usize]) -> Result<Expression, Refusal> {
        let mut bits: i32 = 0;
        for key in asked {
            let place = self.all.iter().position(|other| other == key);
            let place = place.ok_or_else(|| Refusal::unknown("GROUPING of no key"))?;
            bits = bits << 1 | i32::from(!set.contains(&place));
        }
        let mut value =
            Expression::new(Kind::Literal(bits.to_string()), TypeName::built_in("int4"));
        value.is_nullable = false;
        Ok(value)
    }

    /// An expression over the columns of [`Self::grouped`].
    pub(super) fn over_groups(&self, expression: &Expression, aggregates: usize) -> Expression {
        let keys = self.all.len();
        expression.rewritten(&mut |part| {
            if let Some(position) = self.all.iter().position(|key| key == part) {
                let mut column = part.as_column(position);
                column.is_nullable |= self.sets.iter().any(|set| !set.contains(&position));
                return Some(column);
            }
            match part.kind {
                Kind::Aggregate(position) => Some(part.as_column(keys + position)),
                Kind::Grouping(position) => Some(part.as_column(keys + aggregates + position)),
                _ => None,
            }
        })
    }

    /// Whether an expression has no columns but in keys.
    pub(super) fn cover(&self, expression: &Expression) -> bool {
        let rest = expression.rewritten(&mut |part| {
            self.all.contains(part).then(|| Expression {
                kind: Kind::Literal(String::new()),
                ..part.clone()
            })
        });
        rest.columns().is_empty()
    }
}

fn null_like(value: &Expression) -> Expression {
    let null = Expression::new(
        Kind::Literal("NULL".to_owned()),
        TypeName::built_in("unknown"),
    );
    Expression {
        kind: Kind::Cast {
            operand: Box::new(null),
            target: value.data_type.to_string(),
        },
        is_nullable: true,
        ..value.clone()
    }
}

type Set<'a> = Vec<&'a Node>;

/// The grouping sets of a list in GROUP BY: of each element one, in all combinations.
fn product(groups: &[Node]) -> Result<Vec<Set<'_>>, Refusal> {
    let mut all: Vec<Set<'_>> = vec![Vec::new()];
    for group in groups {
        let mut next = Vec::new();
        for set in &all {
            for more in sets_of(group)? {
                next.push([set.clone(), more].concat());
            }
        }
        if next.len() > MOST_SETS {
            return Err(Refusal::new(
                "GROUP BY",
                format!("there are more than {MOST_SETS} grouping sets"),
            ));
        }
        all = next;
    }
    Ok(all)
}

fn sets_of(group: &Node) -> Result<Vec<Set<'_>>, Refusal> {
    let NodeEnum::GroupingSet(set) = content(group)? else {
        return Ok(vec![members(group)?]);
    };
    let GroupingSet {
        kind,
        content: elements,
        location: _,
    } = set;
    match GroupingSetKind::try_from(*kind) {
        Ok(GroupingSetKind::GroupingSetEmpty) => Ok(vec![Vec::new()]),
        Ok(GroupingSetKind::GroupingSetRollup) => {
            let elements = each(elements)?;
            let prefixes = (0..=elements.len()).rev();
            Ok(prefixes.map(|length| elements[..length].concat()).collect())
        }
        Ok(GroupingSetKind::GroupingSetCube) => {
            let elements = each(elements)?;
            if elements.len() > 5 {
                return Err(Refusal::new(
                    "CUBE",
                    format!("there are more than {MOST_SETS} grouping sets"),
                ));
            }
            let subsets = 0..1_usize << elements.len();
            let chosen = |subset: usize| {
                let members = elements.iter().enumerate();
                let members = members.filter(|(at, _)| subset >> at & 1 == 1);
                members.flat_map(|(_, element)| element.clone()).collect()
            };
            Ok(subsets.map(chosen).collect())
        }
        Ok(GroupingSetKind::GroupingSetSets) => {
            let sets = elements.iter().map(sets_of);
            Ok(sets.collect::<Result<Vec<_>, _>>()?.concat())
        }
        _ => Err(Refusal::unknown("this kind of grouping set")),
    }
}

fn each(elements: &[Node]) -> Result<Vec<Set<'_>>, Refusal> {
    elements.iter().map(members).collect()
}

/// An expression, or those in parentheses that count as one element.
fn members(element: &Node) -> Result<Set<'_>, Refusal> {
    match content(element)? {
        NodeEnum::RowExpr(row) => {
            let RowExpr {
                args, row_format, ..
            } = &**row;
            if CoercionForm::try_from(*row_format) != Ok(CoercionForm::CoerceImplicitCast) {
                return Err(Refusal::unknown("ROW(…) in GROUP BY"));
            }
            Ok(args.iter().collect())
        }
        NodeEnum::GroupingSet(_) => Err(Refusal::unknown("GROUPING SETS in ROLLUP or CUBE")),
        _ => Ok(vec![element]),
    }
}
