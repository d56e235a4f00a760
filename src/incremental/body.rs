//! The refresh as a function's statements: what is pending decides which statement runs.

use super::logs::{all, limit, pending, pending_if_not};
use super::program::{FastRefresh, Variant};

/// What a statement gives, as variables.
const RESULTS: &str =
    "snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete";

/// More pending rows than were counted may have come before the statement begins, by this.
const MORE: i32 = 100;

/// For up to so many pending rows the session keeps a plan: making one for just these would cost more than they do.
const KEPT: [i32; 2] = [200, 3000];

impl FastRefresh {
    /// The statements of a PL/pgSQL function with the parameter `watermark pg_snapshot` (the first) and the results
    /// `snapshot pg_snapshot, rows_inserted int8, rows_updated int8, rows_deleted int8, rows_missing int8, must_complete
    /// boolean`. It needs `#variable_conflict use_column` and should have [`FastRefresh::settings`].
    ///
    /// Whatever the isolation level, all that is done is done by one statement, whose snapshot is the one given back.
    #[must_use]
    pub fn body(&self) -> String {
        let everything = format!("{}\nINTO {RESULTS};", self.statement);
        if self.variants.is_empty() {
            return everything;
        }
        let numbered = || self.logs.iter().zip(1..);
        let counts: Vec<String> = numbered()
            .map(|(log, number)| {
                format!(
                    "(SELECT count(*) AS pending_{number}, count(*) FILTER (WHERE weight = 0) AS markers_{number}\n          FROM {log} WHERE {}) AS count_{number}",
                    pending()
                )
            })
            .collect();
        let list = |name: &str, separator: &str| {
            let names = numbered().map(|(_, number)| format!("{name}_{number}"));
            names.collect::<Vec<_>>().join(separator)
        };
        let limits: String = numbered()
            .map(|(_, number)| format!("    {} := pending_{number} + {MORE};\n", limit(number)))
            .collect();
        let alls: Vec<(usize, &String)> = numbered()
            .map(|(log, number)| (number, log))
            .filter(|(number, _)| {
                let condition = pending_if_not(&all(*number));
                let mut variants = self.variants.iter();
                variants.any(|variant| variant.statement.contains(&condition))
            })
            .collect();
        let choices = self.variants.iter().map(|variant| self.choice(variant));
        let choices: String = choices.collect();
        format!(
            "DECLARE
    {declared} int8;
    {limited} int8;
{declared_alls}    pending int8;
    markers int8;
    planned text;
    unforeseen boolean := true;
BEGIN
    SELECT {numbers}, {markers},
           pg_current_snapshot(), 0, 0, 0, 0, false
    INTO {numbers}, markers, {RESULTS}
    FROM {counts};
    pending := {sum};
{limits}{alls}    IF pending = 0 THEN
        unforeseen := false;
{choices}    END IF;
    IF unforeseen THEN
        -- other tables have changed as well, or more has come meanwhile, or something happened that is not in the logs
        planned := set_config('plan_cache_mode', 'force_custom_plan', true);
        {everything}
    END IF;
END;",
            declared = list("pending", " int8;\n    "),
            limited = list("at_most", " int8;\n    "),
            declared_alls = alls.iter().map(|(number, _)| format!("    {} boolean;\n", all(*number))).collect::<String>(),
            alls = where_nothing_else(&alls),
            markers = list("markers", " + "),
            numbers = list("pending", ", "),
            counts = counts.join(",\n         "),
            sum = list("pending", " + "),
            everything = super::print::indented(&everything, 2).trim_start(),
        )
    }

    /// The settings under which the function should run, as `SET name = value` in its definition.
    #[must_use]
    pub fn settings() -> &'static [(&'static str, &'static str)] {
        &[
            // the values of watermark and limit tell the planner how much is pending
            ("plan_cache_mode", "force_custom_plan"),
            ("jit", "off"),
            // rows found by an index one after the other are mostly in memory; the default makes the planner read whole tables
            ("random_page_cost", "1.1"),
        ]
    }

    /// The statement of a variant, under the condition that it is the right one; first with its plans kept, for few rows.
    fn choice(&self, variant: &Variant) -> String {
        let places = || variant.tables.iter().map(|place| place + 1);
        let counted: Vec<String> = places().map(|place| format!("pending_{place}")).collect();
        let counted = counted.join(" + ");
        let branch = |more: &str, first: &str, statement: &str| {
            format!(
                "    ELSIF {counted} = pending AND markers = 0{more} THEN\n{first}        {}\n        INTO {RESULTS}, unforeseen;\n",
                super::print::indented(statement, 2).trim_start()
            )
        };
        let kept = KEPT.iter().map(|most| {
            // from the last one on, as the first one's name is the beginning of the tenth's
            let statement = places().rev().fold(variant.statement.clone(), |statement, place| {
                let statement = statement.replace(&pending_if_not(&all(place)), pending());
                statement.replace(
                    &format!("LIMIT {}", limit(place)),
                    &format!("LIMIT {}", most + MORE),
                )
            });
            branch(
                &format!(" AND pending <= {most}"),
                "        -- few rows: the session keeps the plan\n        planned := set_config('plan_cache_mode', 'force_generic_plan', true);\n",
                &statement,
            )
        });
        let mut branches: Vec<String> = kept.collect();
        // what is for all tables needs no other statement for many rows
        if variant.tables.len() < self.logs.len() || self.logs.len() == 1 {
            branches.push(branch("", "", &variant.statement));
        }
        branches.concat()
    }
}

/// Looks whether these logs (by the places of their tables) hold nothing else than what is pending.
fn where_nothing_else(logs: &[(usize, &String)]) -> String {
    if logs.is_empty() {
        return String::new();
    }
    let checks: String = logs
        .iter()
        .map(|(number, log)| {
            format!(
                "        {} := pending_{number} > 0 AND NOT EXISTS (SELECT FROM {log} WHERE NOT ({}));\n",
                all(*number),
                pending()
            )
        })
        .collect();
    format!(
        "    IF pending > {} THEN
        -- whether the logs hold nothing else: the planner then knows how much there is
{checks}    END IF;
",
        KEPT[KEPT.len() - 1]
    )
}
