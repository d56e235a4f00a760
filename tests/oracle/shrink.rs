//! Makes a failing case as small as it gets while it fails in the same way: steps, tables, columns, words of statements are
//! left out one after the other, large pieces first.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::generate::COLUMNS;
use crate::scenario::{Case, Step};
use crate::subject::{Kind, Subject};
use crate::words::{Names, without, without_column, words};

/// For how long a case is made smaller.
const LIMIT: Duration = Duration::from_secs(120);

/// What pieces are cut from.
#[derive(Debug, Clone, Copy)]
enum Part {
    Steps,
    /// Words of a query.
    Query(usize),
    /// Words of the statement of a step.
    Statement(usize),
}

struct Shrinking<'a, S> {
    subject: &'a mut S,
    kind: &'a Kind,
    best: Case,
    tried: u32,
    end: Instant,
}

/// The smallest case found, and how many were tried.
pub(crate) async fn shrunk<S: Subject>(subject: &mut S, case: &Case, kind: &Kind) -> (Case, u32) {
    let mut shrinking = Shrinking {
        subject,
        kind,
        best: case.clone(),
        tried: 0,
        end: Instant::now() + LIMIT,
    };
    shrinking.plain_names().await;
    loop {
        let before = shrinking.best.clone();
        shrinking.cut_everywhere(Part::Steps).await;
        shrinking.pairs_of_steps().await;
        shrinking.queries().await;
        shrinking.tables().await;
        for query in 0..shrinking.best.queries.len() {
            shrinking.cut_everywhere(Part::Query(query)).await;
        }
        shrinking.columns().await;
        for step in 0..shrinking.best.steps.len() {
            shrinking.cut_everywhere(Part::Statement(step)).await;
        }
        if shrinking.best == before || shrinking.is_over() {
            return (shrinking.best, shrinking.tried);
        }
    }
}

impl<S: Subject> Shrinking<'_, S> {
    fn is_over(&self) -> bool {
        Instant::now() > self.end
    }

    /// Takes a case for the best one if it fails in the same way.
    async fn fails(&mut self, candidate: Case) -> bool {
        if candidate == self.best || self.is_over() {
            return false;
        }
        self.tried += 1;
        let outcome = self.subject.run(&candidate).await;
        let is_same = matches!(outcome, Err(failure) if failure.kind == *self.kind);
        if is_same {
            self.best = candidate;
        }
        is_same
    }

    async fn plain_names(&mut self) {
        let names = Names::default();
        self.fails(Case {
            names,
            ..self.best.clone()
        })
        .await;
    }

    async fn cut_everywhere(&mut self, part: Part) {
        let mut length = size(&self.best, part) / 2;
        while length > 0 && !self.is_over() {
            let mut at = 0;
            // there are many pieces, and cutting one takes its time, too
            while !self.is_over() && at + length <= size(&self.best, part) {
                let candidate = cut(&self.best, part, &(at..at + length));
                let is_cut = match candidate {
                    Some(candidate) => self.fails(candidate).await,
                    None => false,
                };
                if !is_cut {
                    at += 1;
                }
            }
            // words make sense in pieces of any length, steps one by one in the end
            length = match part {
                Part::Steps => length / 2,
                _ => length - 1,
            };
        }
    }

    /// `BEGIN` with its `COMMIT`, `SAVEPOINT` with its end.
    async fn pairs_of_steps(&mut self) {
        let mut first = 0;
        while first < self.best.steps.len() {
            let mut is_cut = false;
            for second in first + 1..self.best.steps.len() {
                let controls = |step: &Step| match step {
                    Step::Main(sql) | Step::Late(sql) => {
                        !sql.contains(' ') || sql.contains(" before")
                    }
                    _ => false,
                };
                let steps = &self.best.steps;
                if !controls(&steps[first]) || !controls(&steps[second]) {
                    continue;
                }
                let mut candidate = self.best.clone();
                candidate.steps.remove(second);
                candidate.steps.remove(first);
                if self.fails(candidate).await {
                    is_cut = true;
                    break;
                }
            }
            if !is_cut {
                first += 1;
            }
        }
    }

    async fn queries(&mut self) {
        for query in (0..self.best.queries.len()).rev() {
            let mut candidate = self.best.clone();
            if candidate.queries.len() > 1 {
                candidate.queries.remove(query);
                candidate
                    .steps
                    .retain(|step| ![Step::Refresh(query), Step::Create(query)].contains(step));
                for step in &mut candidate.steps {
                    if let Step::Refresh(view) | Step::Create(view) = step
                        && *view > query
                    {
                        *view -= 1;
                    }
                }
                self.fails(candidate).await;
            }
        }
    }

    async fn tables(&mut self) {
        for table in (0..self.best.tables.len()).rev() {
            let mut candidate = self.best.clone();
            candidate.tables.remove(table);
            self.fails(candidate).await;
        }
        for table in 0..self.best.tables.len() {
            let mut candidate = self.best.clone();
            candidate.tables[table].refers_to = None;
            self.fails(candidate).await;
            let mut candidate = self.best.clone();
            candidate.tables[table].is_partitioned = false;
            self.fails(candidate).await;
        }
    }

    /// All but the first, which is `id`.
    async fn columns(&mut self) {
        for column in (1..COLUMNS.len()).rev() {
            let mut candidate = self.best.clone();
            for table in &mut candidate.tables {
                let Some(position) = table.columns.iter().position(|known| *known == column) else {
                    continue;
                };
                table.columns.remove(position);
                let values = format!("INSERT INTO {} VALUES", table.table.name);
                for step in &mut candidate.steps {
                    if let Step::Main(sql) | Step::Late(sql) = step
                        && sql.starts_with(&values)
                    {
                        *sql = without_column(sql, position);
                    }
                }
            }
            self.fails(candidate).await;
        }
    }
}

fn size(case: &Case, part: Part) -> usize {
    let count = |sql: &str| words(sql).len();
    match part {
        Part::Steps => case.steps.len(),
        Part::Query(query) => case.queries.get(query).map_or(0, |sql| count(sql)),
        Part::Statement(step) => match case.steps.get(step) {
            Some(Step::Main(sql) | Step::Late(sql)) if sql.contains(' ') => count(sql),
            _ => 0,
        },
    }
}

fn cut(case: &Case, part: Part, range: &Range<usize>) -> Option<Case> {
    let mut case = case.clone();
    match part {
        Part::Steps => {
            case.steps.drain(range.clone());
        }
        Part::Query(query) => case.queries[query] = without(&case.queries[query], range)?,
        Part::Statement(step) => match &mut case.steps[step] {
            Step::Main(sql) | Step::Late(sql) => *sql = without(sql, range)?,
            _ => return None,
        },
    }
    Some(case)
}
