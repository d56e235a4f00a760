//! What commands print: lines and tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Row, Table, presets};
use serde::Serialize;

use crate::error::{CommandError, Exit};

/// Standard output, in the form asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// A line for people; nothing where JSON was asked for.
    pub(super) fn line(self, text: impl AsRef<str>) {
        if !self.json {
            print(text.as_ref());
        }
    }

    /// The command's data: as JSON if asked for, else as `text` makes it.
    pub(super) fn data<T: Serialize + ?Sized>(
        self,
        data: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandError> {
        if self.json {
            let json = serde_json::to_string_pretty(data)
                .map_err(|error| CommandError::new(Exit::Internal, error.to_string()))?;
            print(&json);
        } else {
            print(&text(data));
        }
        Ok(())
    }
}

fn print(text: &str) {
    // Nobody is left to tell when standard output is closed.
    let _ = writeln!(io::stdout(), "{text}");
}

/// A table as text, no wider than the terminal.
pub(super) fn table<R: Into<Row>>(
    header: impl Into<Row>,
    rows: impl IntoIterator<Item = R>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for row in rows {
        table.add_row(row);
    }
    // No blank before the first column, so that lines begin where other output does.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}
