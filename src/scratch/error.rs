//! What can go wrong with a scratch server, each with its remedy.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no scratch `PostgreSQL`.
#[derive(Debug, Error)]
pub enum ScratchError {
    /// No server programs were found on this machine.
    #[error(
        "no PostgreSQL server programs found (15 or newer): {remedy}, or set SCRATCH_PG_BIN to their directory"
    )]
    NotInstalled {
        /// How to install them on this system.
        remedy: &'static str,
    },

    /// `SCRATCH_PG_BIN` names a directory without usable server programs.
    #[error("SCRATCH_PG_BIN is {}, where initdb and postgres (15 or newer) can't be run: correct or unset it", .0.display())]
    NotInConfiguredDirectory(PathBuf),

    /// The process is root, and no other account can be found to run the server.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: run this as an ordinary user"
    )]
    NoAccount,

    /// The account that runs the server can't get at a directory it needs.
    #[error("the user {account} can't enter {}, which running PostgreSQL needs: make the directories leading there searchable (chmod o+x)", path.display())]
    Unreachable {
        /// Who can't enter.
        account: String,
        /// The directory concerned.
        path: PathBuf,
    },

    /// A Unix socket's path is limited by the operating system to about 100 bytes.
    #[error("{} is too long a path for a Unix socket (100 bytes): set TMPDIR to a shorter one", .0.display())]
    SocketPathTooLong(PathBuf),

    /// The template directory could be changed by somebody else.
    #[error("{} must be a directory of this user that nobody else can enter (mode 0700): remove it", .0.display())]
    UnsafeTemplate(PathBuf),

    /// One of the server's programs failed; `output` is what it said.
    #[error("{program} failed: {output}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// What it printed.
        output: String,
    },

    /// The installation has no such program (some distributions are trimmed).
    #[error("{} has no {program}, which this needs: use a complete PostgreSQL installation", directory.display())]
    MissingProgram {
        /// The program's name.
        program: &'static str,
        /// Where it was looked for.
        directory: PathBuf,
    },

    /// The server ended, or did not get ready in time, at its start.
    #[error("the scratch PostgreSQL did not start ({reason}); its log ends with:\n{log}")]
    NotReady {
        /// How it ended.
        reason: String,
        /// The last lines of the server's log.
        log: String,
    },

    /// A file or a process could not be handled.
    #[error("can't {action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The operating system's word.
        source: io::Error,
    },
}

impl ScratchError {
    /// For `map_err`: wraps an I/O error with what was being done.
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
