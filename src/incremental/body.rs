//! The refresh as a function's statements: what is pending decides which statement runs.

use super::foreseen::FEW;
use super::logs::{all, limit, pending, pending_if_not};
use super::program::{FastRefresh, Variant};

/// What a statement gives, as variables.
const RESULTS: &str =
    "snapshot, rows_inserted, rows_updated, rows_deleted, rows_missing, must_complete";

/// Plans are made by index only, and again by whatever is cheapest.
const BY_INDEX: &str = "planned := set_config('enable_seqscan', 'off', true) || set_config('enable_bitmapscan', 'off', true);";
const BY_ANY: &str = "planned := set_config('enable_seqscan', 'on', true) || set_config('enable_bitmapscan', 'on', true);";

/// More pending rows than were counted may have come before the statement begins, by this.
const MORE: i32 = 100;

/// For up to so many pending rows the session keeps a plan: making one for just these would cost more than they do.
///
/// The last only where more than [`DEAR`] tables are read.
const KEPT: [i32; 3] = [FEW, 3000, 20_000];

/// The old and the new image of one row: of a table that others refer to it may mean some thousand rows, and [`FEW`] of them
/// many more, which are best found by reading whole tables.
const ONE_ROW: i32 = 2;

/// Up to so many tables a plan is made sooner than some thousand rows are refreshed.
const DEAR: usize = 4;

/// Up to here the session keeps plans.
const ONCE_FOR_ALL: &str = "planned := set_config('plan_cache_mode', 'force_generic_plan', true);";

/// From here on statements are planned for the values at hand.
const BY_VALUES: &str = "planned := set_config('plan_cache_mode', 'force_custom_plan', true);";

impl FastRefresh {
    /// The statements of a PL/pgSQL function with the parameters `watermark pg_snapshot` and `most int8` (the first two) and the
    /// results `snapshot pg_snapshot, rows_inserted int8, rows_updated int8, rows_deleted int8, rows_missing int8, must_complete
    /// boolean, pending_rows int8`. It needs `#variable_conflict use_column` and [`FastRefresh::settings`].
    ///
    /// Where more than `most` rows are pending in a log or in all together (NULL: no bound) nothing is done; `pending_rows` is
    /// then some number above it, else their number. Without logs it is NULL.
    ///
    /// Whatever the isolation level, all that is done is done by one statement, whose snapshot is the one given back.
    /// It ends at its end, whatever happens: what comes after it may be checks.
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
                    "(SELECT count(*) AS pending_{number}, count(*) FILTER (WHERE weight = 0) AS markers_{number}\n          FROM (SELECT weight FROM {log} WHERE {} LIMIT $2 + 1) AS pending) AS count_{number}",
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
            "<<refresh>>
DECLARE
    {declared} int8;
    {limited} int8;
{declared_alls}    pending int8;
    markers int8;
    planned text;
    unforeseen boolean := true;
BEGIN
    {ONCE_FOR_ALL}
{few}    -- the plan of the count goes by index, as the log may be a long one by then
    {BY_INDEX}
    SELECT {numbers}, {markers},
           pg_current_snapshot(), 0, 0, 0, 0, false
    INTO {numbers}, markers, {RESULTS}
    FROM {counts};
    {BY_ANY}
    pending := {sum};
    pending_rows := pending;
{limits}    IF pending = 0 OR pending > $2 THEN
        EXIT refresh;
    END IF;
{alls}    IF markers > 0 THEN
        -- something happened that is not in the logs
        must_complete := true;
        EXIT refresh;
{choices}    END IF;
    IF unforeseen THEN
        -- other tables have changed as well, or more has come meanwhile
        {BY_VALUES}
        {everything}
    END IF;
END;",
            few = self.where_few(),
            declared = list("pending", " int8;\n    "),
            limited = list("at_most", " int8;\n    "),
            declared_alls = alls
                .iter()
                .map(|(number, _)| format!("    {} boolean;\n", all(*number)))
                .collect::<String>(),
            alls = where_nothing_else(&alls, self.kept()[self.kept().len() - 1]),
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
            // set within the body: listed here they are as before when it ends
            ("enable_seqscan", "on"),
            ("enable_bitmapscan", "on"),
            ("jit", "off"),
            // rows found by an index one after the other are mostly in memory; the default makes the planner read whole tables
            ("random_page_cost", "1.1"),
        ]
    }

    /// Up to how many pending rows plans are kept.
    fn kept(&self) -> &'static [i32] {
        let (few, _) = KEPT.split_at(KEPT.len() - 1);
        if self.logs.len() > DEAR { &KEPT } else { few }
    }

    /// The statement that counts few pending rows itself.
    fn where_few(&self) -> String {
        let few = self
            .variants
            .iter()
            .find_map(|variant| variant.few.as_ref());
        few.map_or_else(String::new, |few| {
            format!(
                "    -- few rows
    {}
    INTO {RESULTS}, pending_rows, unforeseen;
    IF NOT unforeseen THEN
        EXIT refresh;
    END IF;
",
                super::print::indented(few, 1).trim_start()
            )
        })
    }

    /// The statement of a variant, under the condition that it is the right one; first with its plans kept, for few rows.
    fn choice(&self, variant: &Variant) -> String {
        let places = || variant.tables.iter().map(|place| place + 1);
        let counted: Vec<String> = places().map(|place| format!("pending_{place}")).collect();
        let counted = counted.join(" + ");
        let branch = |more: &str, first: &str, statement: &str| {
            format!(
                "    ELSIF {counted} = pending{more} THEN\n{first}        {}\n        INTO {RESULTS}, unforeseen;\n",
                super::print::indented(statement, 2).trim_start()
            )
        };
        // few rows may have been dealt with before
        let with_few = variant.few.is_some();
        let kept = self.kept().iter().copied();
        let kept = kept.filter(|most| !with_few || *most > FEW);
        let one_row = (variant.tables.len() == 1 && !with_few).then_some(ONE_ROW);
        let kept = one_row.into_iter().chain(kept).map(|most| {
            // from the last one on, as the first one's name is the beginning of the tenth's
            let statement = places()
                .rev()
                .fold(variant.statement.clone(), |statement, place| {
                    let statement = statement.replace(&pending_if_not(&all(place)), pending());
                    // What the planner reckons with. It must not be less than what the statement makes sure of, which
                    // is at_most_N: no more than this has come.
                    if most == ONE_ROW {
                        statement.replace(&limit(place), &(most + 1).to_string())
                    } else {
                        statement.replace(
                            &format!("LIMIT {}", limit(place)),
                            &format!("LIMIT {}", most + MORE),
                        )
                    }
                });
            branch(
                &format!(" AND pending <= {most}"),
                "        -- few rows: the session keeps the plan\n",
                &statement,
            )
        });
        let mut branches: Vec<String> = kept.collect();
        // what is for all tables needs no other statement for many rows
        if variant.tables.len() < self.logs.len() || self.logs.len() == 1 {
            let first = format!("        {BY_VALUES}\n");
            branches.push(branch("", &first, &variant.statement));
        }
        branches.concat()
    }
}

/// Looks whether these logs (by the places of their tables) hold nothing else than what is pending.
fn where_nothing_else(logs: &[(usize, &String)], most: i32) -> String {
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
        "    IF pending > {most} THEN
        -- whether the logs hold nothing else: the planner then knows how much there is
{checks}    END IF;
"
    )
}
