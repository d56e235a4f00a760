//! The user's own `.sql` files, run after an installation or an upgrade.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::Executor;
use sqlx::postgres::PgConnection;

use crate::connect::describe_in_query;
use crate::error::{CommandError, Exit};
use crate::sql::composed;

/// A file that failed, and how.
#[derive(Debug)]
pub(super) struct FailedFile {
    pub(super) file: PathBuf,
    pub(super) message: String,
}

/// In one paragraph: the file, and the server's message with the place.
impl fmt::Display for FailedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.replace('\n', "\n    ");
        write!(f, "{}: {message}", self.file.display())
    }
}

/// Runs the files of a directory in the order of their names, each in a transaction of its own (unless it has
/// `BEGIN` and `COMMIT` itself). One that fails does not keep the others from running. Returns how many succeeded.
pub(super) async fn run_all(
    connection: &mut PgConnection,
    directory: &Path,
) -> Result<(usize, Vec<FailedFile>), CommandError> {
    let files = sql_files(directory).map_err(|error| {
        let directory = directory.display();
        CommandError::new(
            Exit::Configuration,
            format!("install.custom_sql_dir: {directory} can not be read: {error}"),
        )
    })?;
    let count = files.len();
    let mut failed = Vec::new();
    for file in files {
        if let Err(message) = run_file(connection, &file).await {
            failed.push(FailedFile { file, message });
        }
    }
    Ok((count - failed.len(), failed))
}

async fn run_file(connection: &mut PgConnection, file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let result = connection.execute(composed(text.clone())).await;
    // a file that failed within its own BEGIN has left the transaction open
    let _ = connection.execute("ROLLBACK").await;
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(describe_in_query(&error, &text)),
    }
}

fn sql_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
