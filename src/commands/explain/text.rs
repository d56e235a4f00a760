//! An explanation for people.

use super::{Explanation, Known, Plan, Query};
use crate::commands::{phrases, schedules};

/// Lines of `label: value`.
pub(super) fn explanation(explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    if let Some(known) = &explanation.known {
        about_view(known, &mut lines);
    } else {
        lines.push("as a materialized view, this query would be refreshed so:".to_owned());
    }
    about_refresh(&explanation.refresh, explanation, &mut lines);
    if let Some(query) = &explanation.query {
        about_query(query, &mut lines);
    }
    for (_, definition) in explanation.known.iter().flat_map(|known| &known.functions) {
        lines.push(String::new());
        lines.push(definition.trim_end().to_owned());
    }
    lines.join("\n")
}

fn about_view(known: &Known, lines: &mut Vec<String>) {
    let view = &known.view;
    lines.push(view.full_name.clone());
    lines.push(format!("  status: {}", view.status));
    if let Some(error) = &view.last_error {
        lines.push(format!("  last error: {}", error.replace('\n', " ")));
    }
    if let Some(problem) = &known.problem {
        let remedy = known.remedy.as_deref().unwrap_or_default();
        lines.push(format!("  problem: {problem}; {remedy}"));
    }
    lines.push(format!("  owner: {}", view.owner));
    lines.push(format!("  schedule: {}", schedules::in_words(view)));
    if let Some(group) = &view.refresh_group {
        lines.push(format!("  refresh group: {group}"));
    }
    if let Some(cost) = view.avg_cost_ms {
        let cost = phrases::milliseconds(cost);
        lines.push(format!("  cost of a complete refresh: {cost} on average"));
    }
    if !known.session_settings.is_empty() {
        let settings: Vec<String> = known
            .session_settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.push(format!(
            "  settings kept from its creation: {}",
            settings.join(", ")
        ));
    }
}

fn about_refresh(plan: &Plan, explanation: &Explanation, lines: &mut Vec<String>) {
    let is_new = explanation.known.is_none();
    let does = match plan.form.as_str() {
        "in_place" => "in place: only rows that differ are written",
        "rebuild" if is_new => "rebuild",
        "rebuild" => "rebuild: emptied, loaded, indexes made again",
        "concurrently" => "REFRESH MATERIALIZED VIEW CONCURRENTLY",
        _ => "REFRESH MATERIALIZED VIEW, which locks readers out",
    };
    lines.push(format!("  next refresh: {}, {does}", plan.method));
    lines.push(format!("  fast refresh: no: {}", plan.fast_refused));
    let is_native = matches!(plan.form.as_str(), "concurrently" | "plain");
    if is_native {
        return;
    }
    lines.push(match &plan.paired_by {
        Some(key) => format!(
            "  rows are paired by: unique index {} ({})",
            key.index,
            key.columns.join(", ")
        ),
        None if is_new => {
            "  rows are paired by: a hash of the whole row, unless it gets a unique index"
                .to_owned()
        }
        None => "  rows are paired by: a hash of the whole row".to_owned(),
    });
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
        lines.push(format!(
            "  columns without equality, verified as text: {columns}"
        ));
    }
    for row in &query.unsteady {
        lines.push(if row.is_volatile {
            format!("  volatile function: {}: verify can't be exact", row.name)
        } else {
            format!(
                "  depends on the time: {}: right as of the last refresh",
                row.name
            )
        });
    }
    lines.push("  reads:".to_owned());
    if query.reads.is_empty() {
        lines.push("    nothing".to_owned());
    }
    for read in &query.reads {
        let via = read.via.as_ref();
        let via = via.map_or_else(String::new, |via| format!(", through {via}"));
        lines.push(format!("    {} ({}{via})", read.name, read.kind));
        if let Some(grant) = &read.missing_grant {
            lines.push(format!("      missing: {grant}"));
        }
    }
    lines.push("  query:".to_owned());
    lines.extend(query.definition.lines().map(|line| format!("    {line}")));
}
