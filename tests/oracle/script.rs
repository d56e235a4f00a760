//! What has been run, as a script for psql.

/// The transaction of the second session that stands open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Closed,
    Open,
    Prepared,
}

/// A script that grows as a case runs. One session runs it: a transaction that stays open in another one is prepared instead.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    late: Late,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            late: Late::Closed,
        }
    }

    /// A statement of the first session.
    pub(crate) fn main(&mut self, sql: &str) {
        if self.late == Late::Open {
            self.text += "PREPARE TRANSACTION 'late'; -- a second session leaves its transaction open (needs max_prepared_transactions)\n";
            self.late = Late::Prepared;
        }
        self.text += sql.trim_end().trim_end_matches(';');
        self.text += if sql.ends_with("\\gset") { "\n" } else { ";\n" };
    }

    /// A command of psql, or a comment.
    pub(crate) fn line(&mut self, text: &str) {
        self.text += text;
        self.text += "\n";
    }

    /// A statement of the second session.
    pub(crate) fn late(&mut self, sql: &str) {
        match (sql, self.late) {
            ("COMMIT" | "ROLLBACK", Late::Prepared) => {
                self.text += &format!("{sql} PREPARED 'late';\n");
                self.late = Late::Closed;
            }
            ("BEGIN", _) => {
                self.text += "BEGIN;\n";
                self.late = Late::Open;
            }
            ("COMMIT" | "ROLLBACK", _) => {
                self.text += &format!("{sql};\n");
                self.late = Late::Closed;
            }
            _ => self.text += &format!("{};\n", sql.trim_end_matches(';')),
        }
    }

    /// The whole script.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
