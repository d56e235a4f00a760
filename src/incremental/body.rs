//! The refresh as a function's statements: what is pending decides which statement runs.

use super::program::FastRefresh;

/// What a statement gives, as variables.
const RESULTS: &str =
    "snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete";

/// More pending rows than were counted may have come before the statement begins, by this.
const MORE: &str = "100";

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
        let counts: Vec<String> = self
            .variants
            .iter()
            .map(|variant| format!("(SELECT count(*) FROM {})", variant.pending))
            .collect();
        let numbers: Vec<String> = (1..=counts.len())
            .map(|number| format!("pending_{number}"))
            .collect();
        let choices: String = self
            .variants
            .iter()
            .zip(&numbers)
            .map(|(variant, number)| {
                format!(
                    "    ELSIF {number} = pending THEN\n        at_most := pending + {MORE};\n        {}\n        INTO {RESULTS}, unforeseen;\n",
                    super::print::indented(&variant.statement, 2).trim_start()
                )
            })
            .collect();
        format!(
            "DECLARE
    {declared} int8;
    pending int8;
    at_most int8;
    unforeseen boolean := true;
BEGIN
    SELECT {counts},
           pg_current_snapshot(), 0, 0, 0, 0, false
    INTO {numbers}, {RESULTS};
    pending := {sum};
    IF pending = 0 THEN
        unforeseen := false;
{choices}    END IF;
    IF unforeseen THEN
        -- several tables have changed, or more has come meanwhile
        {everything}
    END IF;
END;",
            declared = numbers.join(" int8;\n    "),
            counts = counts.join(",\n           "),
            numbers = numbers.join(", "),
            sum = numbers.join(" + "),
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
}
