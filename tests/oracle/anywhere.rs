//! Random subqueries that depend on rows outside anywhere: in their select list, in aggregates, by an inequality, further in.

use crate::general::General;
use crate::generate::pick;

const NUMBERS: &[&str] = &[
    "(SELECT count(*)::integer FROM ONE AS x WHERE x.a < OF.a)",
    "(SELECT max(x.a + OF.id) FROM ONE AS x WHERE x.id = OF.a)",
    "(SELECT max(x.a * OF.a) FROM ONE AS x)",
    "(SELECT count(*) FILTER (WHERE x.a > OF.a AND x.d)::integer FROM ONE AS x WHERE x.b = OF.b)",
    "(SELECT count(x.a)::integer FROM ONE AS x WHERE x.b = OF.b AND x.id >= OF.s)",
    "(SELECT coalesce(min(x.a), OF.a) FROM ONE AS x WHERE x.a BETWEEN OF.s AND OF.a)",
    "(SELECT x.a FROM ONE AS x WHERE x.a > OF.a ORDER BY x.a LIMIT 1)",
    "(SELECT x.a + OF.a FROM ONE AS x WHERE x.a IS NOT NULL ORDER BY x.a DESC LIMIT 1)",
    "(SELECT sum(y.n)::integer FROM (SELECT count(*) AS n FROM ONE AS x WHERE x.a < OF.a GROUP BY x.b) AS y)",
    "(SELECT max(y.n)::integer FROM (SELECT count(*) AS n FROM ONE AS x WHERE x.a = OF.a GROUP BY x.b HAVING count(*) < OF.id) AS y)",
    "(SELECT max(y.n)::integer FROM (SELECT rank() OVER (PARTITION BY x.b ORDER BY x.a) AS n FROM ONE AS x WHERE x.a <= OF.a) AS y)",
    "(SELECT count(y.a)::integer FROM ONE AS x LEFT JOIN TWO AS y ON y.id = x.a AND y.b = OF.b WHERE x.id = OF.a)",
    "(SELECT count(*)::integer FROM (SELECT x.a FROM ONE AS x WHERE x.a < OF.a UNION SELECT y.a FROM TWO AS y WHERE y.id = OF.a) AS z)",
    "(SELECT count(*)::integer FROM ONE AS x WHERE x.a = OF.a AND x.id > (SELECT count(*) FROM TWO AS y WHERE y.a = OF.a AND y.b = x.b))",
];

const TRUTHS: &[&str] = &[
    // division: everything that is asked for is there
    "NOT EXISTS (SELECT 1 FROM ONE AS x WHERE NOT EXISTS (SELECT 1 FROM TWO AS y WHERE y.a = OF.a AND y.id = x.id))",
    "NOT EXISTS (SELECT 1 FROM ONE AS x WHERE x.d AND NOT EXISTS (SELECT 1 FROM TWO AS y WHERE y.b = OF.b AND y.a = x.a))",
    "EXISTS (SELECT 1 FROM ONE AS x WHERE x.id = OF.a AND x.a NOT IN (SELECT y.a FROM TWO AS y WHERE y.b = OF.b))",
    "EXISTS (SELECT x.id FROM ONE AS x WHERE x.a = OF.a INTERSECT SELECT y.id FROM TWO AS y WHERE y.b = OF.b)",
    "OF.a IN (SELECT x.a FROM ONE AS x WHERE x.id > OF.id EXCEPT ALL SELECT y.a FROM TWO AS y WHERE y.b = OF.b)",
    "OF.id IN (SELECT count(*) FROM ONE AS x WHERE x.a < OF.a GROUP BY x.b)",
    "OF.a < ALL (SELECT max(x.a) FROM ONE AS x WHERE x.a <> OF.a GROUP BY x.b HAVING count(*) < OF.s)",
    "EXISTS (SELECT 1 FROM ONE AS x WHERE x.a < OF.a HAVING count(*) > 1)",
    "EXISTS (SELECT 1 FROM ONE AS x LEFT JOIN TWO AS y ON y.id = x.a AND y.b = OF.b WHERE y.id IS NULL AND x.id = OF.s)",
    "NOT EXISTS (SELECT 1 FROM ONE AS x WHERE EXISTS (SELECT 1 FROM TWO AS y WHERE y.a = x.a AND NOT EXISTS (SELECT 1 FROM ONE AS z WHERE z.id = y.id AND z.b = OF.b AND z.a = x.s)))",
];

/// Subqueries in FROM with columns val and num.
pub(crate) const ITEMS: &[&str] = &[
    "(SELECT x.a AS val, count(*) AS num FROM ONE AS x WHERE x.a < OF.a GROUP BY x.a)",
    "(SELECT x.a AS val, x.f AS num FROM ONE AS x WHERE x.a >= OF.a ORDER BY x.a, x.f LIMIT 2)",
    "(SELECT max(x.a + OF.a) AS val, count(x.f) AS num FROM ONE AS x WHERE x.b = OF.b)",
    "(SELECT x.a + OF.a AS val, x.f AS num FROM ONE AS x WHERE x.id = OF.id)",
    "(SELECT x.a AS val, rank() OVER (PARTITION BY x.b ORDER BY x.id, x.a) AS num FROM ONE AS x WHERE x.a = OF.a)",
    "(SELECT DISTINCT x.a AS val, OF.s AS num FROM ONE AS x WHERE x.id < OF.id)",
    "(SELECT x.a AS val, y.f AS num FROM ONE AS x LEFT JOIN LATERAL (SELECT z.f FROM TWO AS z WHERE z.a = x.a AND z.b = OF.b) AS y ON true WHERE x.id = OF.a)",
    "(SELECT x.a AS val, (SELECT count(*) FROM TWO AS y WHERE y.a = x.a AND y.id > OF.id) AS num FROM ONE AS x WHERE x.id = OF.id)",
    "(SELECT x.a AS val, x.id AS num FROM ONE AS x WHERE x.a < OF.a UNION SELECT y.a, y.id FROM TWO AS y WHERE y.id = OF.a)",
];

impl General<'_> {
    pub(crate) fn number_anywhere(&mut self, outer: &str) -> String {
        self.anywhere(NUMBERS, outer)
    }

    pub(crate) fn truth_anywhere(&mut self, outer: &str) -> String {
        self.anywhere(TRUTHS, outer)
    }

    /// One of these about a row outside, with names that are nowhere else.
    pub(crate) fn anywhere(&mut self, forms: &[&'static str], outer: &str) -> String {
        let mut text = pick(self.rng, forms).replace("OF.", &format!("{outer}."));
        for word in ["ONE", "TWO"] {
            text = text.replace(word, &self.table());
        }
        for name in ["x", "y", "z"] {
            let alias = self.alias();
            text = text
                .replace(&format!(" AS {name} "), &format!(" AS {alias} "))
                .replace(&format!(" AS {name})"), &format!(" AS {alias})"))
                .replace(&format!("{name}."), &format!("{alias}."));
        }
        text
    }
}
