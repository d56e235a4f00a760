//! An explanation for people.

use super::{Complete, Explanation, Known, Query};
use crate::commands::{phrases, schedules};
use crate::dictionary::indexes::MissingIndex;
use crate::dictionary::outlook::{LogRow, OutlookRow};
use crate::explanation::{Fast, Strategy};

/// Lines of `label: value`, no wider than 80 columns but for what is SQL.
pub(super) fn explanation(explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    if let Some(known) = &explanation.known {
        about_view(known, &mut lines);
    } else {
        lines.push("as a materialized view, this query would be refreshed so:".to_owned());
    }
    if let Some(fast) = &explanation.fast {
        about_fast(fast, &mut lines);
    }
    if let Some(known) = &explanation.known {
        about_logs(&known.logs, &mut lines);
    }
    let indexes = explanation.fast.iter().flat_map(|f| &f.missing_indexes);
    about_indexes(indexes, &mut lines);
    about_complete(&explanation.complete, explanation, &mut lines);
    if let Some(query) = &explanation.query {
        about_query(query, &mut lines);
    }
    for statement in sql(explanation) {
        lines.push(String::new());
        lines.push(statement.trim_end().to_owned());
    }
    lines.join("\n")
}

fn line(lines: &mut Vec<String>, indentation: usize, text: &str) {
    lines.push(phrases::folded(text, indentation));
}

fn about_view(known: &Known, lines: &mut Vec<String>) {
    let view = &known.view;
    lines.push(view.full_name.clone());
    line(lines, 2, &format!("status: {}", view.status));
    if let Some(error) = &view.last_error {
        line(lines, 2, &format!("last error: {error}"));
    }
    if let Some(problem) = &known.problem {
        let remedy = known.remedy.as_deref().unwrap_or_default();
        line(lines, 2, &format!("problem: {problem}; {remedy}"));
    }
    line(lines, 2, &format!("owner: {}", view.owner));
    let schedule = schedules::in_words(view);
    let method = &view.refresh_method;
    line(
        lines,
        2,
        &format!("schedule: {schedule}; refresh method {method}"),
    );
    if let Some(group) = &view.refresh_group {
        line(lines, 2, &format!("refresh group: {group}"));
    }
    if let Some(next) = &known.next_refresh {
        about_next(next, lines);
    }
}

fn about_next(next: &OutlookRow, lines: &mut Vec<String>) {
    let form =
        Some(next.form.as_str()).filter(|form| next.method == "complete" && !form.is_empty());
    let what = match next.method.as_str() {
        "none" => "none needed".to_owned(),
        method => phrases::method(Some(method), form),
    };
    line(
        lines,
        2,
        &format!("next refresh: {what}: {reason}", reason = next.reason),
    );
    let pending = next.pending_rows.filter(|rows| *rows > 0);
    if let Some(rows) = pending {
        let changes = phrases::count(rows, "logged change", "logged changes");
        line(lines, 2, &format!("pending: {changes}"));
    }
    let costs = [
        pending.and(next.fast_ms).map(|ms| (ms, "fast")),
        next.complete_ms.map(|ms| (ms, "completely")),
    ];
    let costs = costs.iter().flatten();
    let costs: Vec<String> = costs
        .map(|(ms, how)| format!("{} {how}", phrases::milliseconds(*ms)))
        .collect();
    if !costs.is_empty() {
        line(
            lines,
            2,
            &format!("expected cost now: {}", costs.join(", ")),
        );
    }
    if next.needs_upkeep {
        line(
            lines,
            2,
            "the daemon compiles it, or repairs its logs, at its next look",
        );
    }
}

fn about_fast(fast: &Fast, lines: &mut Vec<String>) {
    if let (Some(clause), Some(reason)) = (&fast.refused_clause, &fast.refused_reason) {
        line(lines, 2, &format!("fast refresh: no: {clause}: {reason}"));
        return;
    }
    line(lines, 2, "fast refresh: yes");
    for Strategy { of, how } in &fast.clauses {
        line(lines, 4, &format!("{of}: {how}"));
    }
    for Strategy { of, how } in &fast.tables {
        line(lines, 4, &format!("a change of {of}: {how}"));
    }
}

fn about_logs(logs: &[LogRow], lines: &mut Vec<String>) {
    if !logs.is_empty() {
        line(lines, 2, "logs:");
    }
    for log in logs {
        let state = match (&log.problem, log.pending_rows) {
            (Some(problem), _) => format!("problem: {problem}"),
            (None, Some(rows)) => format!("{} pending", phrases::rows(rows)),
            (None, None) => "used from the next refresh on".to_owned(),
        };
        let (name, table) = (&log.log_name, &log.base_table);
        line(lines, 4, &format!("{name} of {table}: {state}"));
    }
}

fn about_indexes<'a>(missing: impl Iterator<Item = &'a MissingIndex>, lines: &mut Vec<String>) {
    for (number, index) in missing.enumerate() {
        if number == 0 {
            line(lines, 2, "missing indexes:");
        }
        let (table, columns) = (&index.table, index.columns.join(" or "));
        let rows = phrases::rounded(index.rows);
        line(
            lines,
            4,
            &format!("{table} (about {rows} rows) is looked up by {columns}: no index"),
        );
        lines.push(format!("      {}", index.statement));
    }
}

fn about_complete(complete: &Complete, explanation: &Explanation, lines: &mut Vec<String>) {
    let is_new = explanation.known.is_none();
    let does = match complete.form.as_str() {
        "in_place" => "in place: only rows that differ are written",
        "rebuild" if is_new => "rebuild",
        "rebuild" => "rebuild: emptied, loaded, indexes made again",
        "concurrently" => "REFRESH MATERIALIZED VIEW CONCURRENTLY",
        _ => "REFRESH MATERIALIZED VIEW, which locks readers out",
    };
    line(lines, 2, &format!("complete refresh: {does}"));
    let is_native = matches!(complete.form.as_str(), "concurrently" | "plain");
    if is_native {
        return;
    }
    let paired = match &complete.paired_by {
        Some(key) => format!("unique index {} ({})", key.index, key.columns.join(", ")),
        None if is_new => "a hash of the whole row, unless it gets a unique index".to_owned(),
        None => "a hash of the whole row".to_owned(),
    };
    line(lines, 4, &format!("rows are paired by: {paired}"));
    let settings = explanation.known.iter().flat_map(|k| &k.session_settings);
    let settings: Vec<String> = settings
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !settings.is_empty() {
        let settings = settings.join(", ");
        line(
            lines,
            2,
            &format!("settings kept from its creation: {settings}"),
        );
    }
}

fn about_query(query: &Query, lines: &mut Vec<String>) {
    let without_equality: Vec<String> = query
        .columns
        .iter()
        .filter(|column| !column.has_equality)
        .map(|column| format!("{} ({})", column.name, column.r#type))
        .collect();
    if !without_equality.is_empty() {
        let columns = without_equality.join(", ");
        line(
            lines,
            2,
            &format!("columns without equality, verified as text: {columns}"),
        );
    }
    for row in &query.unsteady {
        let name = &row.name;
        let text = if row.is_volatile {
            format!("volatile function: {name}: verify can't be exact")
        } else {
            format!("depends on the time: {name}: right as of the last refresh")
        };
        line(lines, 2, &text);
    }
    line(lines, 2, "reads:");
    if query.reads.is_empty() {
        line(lines, 4, "nothing");
    }
    for read in &query.reads {
        let via = read.via.as_ref();
        let via = via.map_or_else(String::new, |via| format!(", through {via}"));
        line(lines, 4, &format!("{} ({}{via})", read.name, read.kind));
        if let Some(grant) = &read.missing_grant {
            lines.push(format!("      missing: {grant}"));
        }
    }
    line(lines, 2, "query:");
    lines.extend(query.definition.lines().map(|line| format!("    {line}")));
}

/// What it is refreshed by: the functions that there are, and what is not compiled yet.
fn sql(explanation: &Explanation) -> Vec<&str> {
    let known = explanation.known.as_ref();
    let functions = known.iter().flat_map(|known| known.functions.values());
    let mut statements: Vec<&str> = functions.map(String::as_str).collect();
    let installed = known
        .and_then(|known| known.program.as_ref())
        .filter(|program| program.is_fast);
    match (installed, &explanation.fast) {
        (Some(program), _) if !statements.is_empty() => {
            let made = program.state_definitions.iter();
            let made = made.chain(&program.row_index_definition);
            statements.extend(made.map(String::as_str));
        }
        (None, Some(fast)) => statements.extend(fast.sql.iter().map(String::as_str)),
        _ => {}
    }
    statements
}
