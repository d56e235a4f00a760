//! Expressions as SQL text.

use crate::definition::{AggregateCall, Expression, Kind};

/// The text of an expression whose columns are printed by `column`.
pub(super) fn sql(expression: &Expression, column: &dyn Fn(usize) -> String) -> String {
    let print = |part: &Expression| sql(part, column);
    let list = |parts: &[Expression], separator: &str| {
        parts.iter().map(print).collect::<Vec<_>>().join(separator)
    };
    match &expression.kind {
        Kind::Column(position) | Kind::Aggregate(position) => column(*position),
        // these are gone once a query has been read
        Kind::Outer(_) | Kind::Subquery(_) | Kind::Window(_) | Kind::Grouping(_) => {
            "NULL".to_owned()
        }
        Kind::Literal(text) if text.starts_with('-') => format!("({text})"),
        Kind::Literal(text) => text.clone(),
        Kind::Operator {
            left: Some(left),
            operator,
            right,
        } => format!("({} {operator} {})", print(left), print(right)),
        Kind::Operator {
            left: None,
            operator,
            right,
        } => format!("({operator} {})", print(right)),
        Kind::Call { name, arguments } => format!("{name}({})", list(arguments, ", ")),
        Kind::Cast { operand, target } => format!("({})::{target}", print(operand)),
        Kind::Logical { word, operands } => format!("({})", list(operands, &format!(" {word} "))),
        Kind::Not(operand) => format!("(NOT {})", print(operand)),
        Kind::Test { operand, test } => format!("({} {test})", print(operand)),
        Kind::Case {
            subject,
            branches,
            otherwise,
        } => {
            let mut text = "CASE".to_owned();
            if let Some(subject) = subject {
                text += &format!(" {}", print(subject));
            }
            for (when, then) in branches {
                text += &format!(" WHEN {} THEN {}", print(when), print(then));
            }
            if let Some(otherwise) = otherwise {
                text += &format!(" ELSE {}", print(otherwise));
            }
            text + " END"
        }
        Kind::Quantified {
            left,
            operator,
            word,
            array,
        } => format!(
            "({} {operator} {word} ({}))",
            print(left),
            one_value(print(array), array)
        ),
        Kind::Array(elements) => format!("ARRAY[{}]", list(elements, ", ")),
        Kind::Written { texts, parts } => {
            let mut written = texts.first().cloned().unwrap_or_default();
            for (part, text) in parts.iter().zip(texts.iter().skip(1)) {
                written += &print(part);
                written += text;
            }
            written
        }
        Kind::Collate(operand, collation) => format!("({} COLLATE {collation})", print(operand)),
    }
}

/// A subquery in parentheses that are its only ones stands for its rows after ANY, whatever there is around them.
fn one_value(text: String, array: &Expression) -> String {
    if text.trim_start_matches('(').starts_with("SELECT") {
        return format!("CAST({text} AS {})", array.data_type);
    }
    text
}

impl AggregateCall {
    /// Its text, with columns printed by `column`.
    pub(super) fn text(&self, column: &dyn Fn(usize) -> String) -> String {
        let print = |part: &Expression| sql(part, column);
        let filter = match &self.filter {
            None => String::new(),
            Some(filter) => format!(" FILTER (WHERE {})", print(filter)),
        };
        let Some(other) = &self.other else {
            let argument = self.argument.as_ref().map_or("*".to_owned(), print);
            return format!("{}({argument}){filter}", self.function.word());
        };
        let arguments: Vec<String> = other.arguments.iter().map(print).collect();
        let order: Vec<String> = other
            .order
            .iter()
            .map(|(value, direction)| format!("{}{direction}", print(value)))
            .collect();
        let order = match order.len() {
            0 => String::new(),
            _ if other.is_within_group => {
                format!(") WITHIN GROUP (ORDER BY {}", order.join(", "))
            }
            _ => format!(" ORDER BY {}", order.join(", ")),
        };
        let distinct = if other.is_distinct { "DISTINCT " } else { "" };
        format!(
            "{}({distinct}{}{order}){filter}",
            other.name,
            arguments.join(", ")
        )
    }
}

/// SQL moved to the right by so many levels. What is within quotes over several lines stays as it is.
pub(super) fn indented(text: &str, levels: usize) -> String {
    let margin = "    ".repeat(levels);
    let mut quote = None;
    let mut moved = Vec::new();
    for line in text.split('\n') {
        if quote.is_none() && !line.is_empty() {
            moved.push(format!("{margin}{line}"));
        } else {
            moved.push(line.to_owned());
        }
        quote = quote_after(line, quote);
    }
    moved.join("\n")
}

/// The quote in which a line of SQL ends, if it begins in the one given. A doubled quote ends and begins.
fn quote_after(line: &str, mut quote: Option<char>) -> Option<char> {
    let mut before = ' ';
    for letter in line.chars() {
        match quote {
            Some(open) if open == letter => quote = None,
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if letter == '-' && before == '-' => return None,
            _ => {}
        }
        before = letter;
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn a_constant_over_several_lines_keeps_its_value() {
        let text = "SELECT 'it''s\n-- ''two' AS \"a\nb\" -- it's\nFROM t";
        let moved = "    SELECT 'it''s\n-- ''two' AS \"a\nb\" -- it's\n    FROM t";
        assert_eq!(indented(text, 1), moved);
    }
}
