//! Why no connection could be opened, in one line with what to do about it.

use std::io::ErrorKind;

use super::database_error::DatabaseError;
use super::settings::ConnectionSettings;

/// No connection could be opened. Displayed as one line: what, where, what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot connect ({place}): {message}")]
pub struct ConnectError {
    /// What kind of failure.
    pub failure: ConnectFailure,
    place: String,
    message: String,
}

/// Kinds of failures to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody listens there, or the host can't be reached.
    NoServer,
    /// The host's name is unknown.
    UnknownHost,
    /// The operating system forbids the use of the socket.
    Forbidden,
    /// No answer in time.
    Timeout,
    /// The server is starting up, shutting down or recovering.
    NotReady,
    /// All connections are taken.
    TooManyConnections,
    /// Wrong password, or none.
    Password,
    /// No such role, or one that may not log in.
    Role,
    /// `pg_hba.conf` refuses.
    Refused,
    /// It can only be read: a standby.
    ReadOnly,
    /// No such database.
    UnknownDatabase,
    /// The role lacks a privilege.
    Privilege,
    /// No agreement on encryption, or a certificate that can't be trusted.
    Tls,
    /// The server is too old.
    Version,
    /// Our own settings can't be used.
    Settings,
    /// Something else.
    Other,
}

impl ConnectFailure {
    /// Whether it may go away without anybody changing a setting or a privilege.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        use ConnectFailure::{
            NoServer, NotReady, Other, ReadOnly, Timeout, TooManyConnections, UnknownHost,
        };
        matches!(
            self,
            NoServer | UnknownHost | Timeout | NotReady | TooManyConnections | ReadOnly | Other
        )
    }
}

impl ConnectError {
    pub(super) fn new(
        settings: &ConnectionSettings,
        failure: ConnectFailure,
        message: String,
    ) -> Self {
        Self {
            failure,
            place: settings.to_string(),
            message,
        }
    }

    pub(super) fn settings(settings: &ConnectionSettings, message: String) -> Self {
        Self::new(settings, ConnectFailure::Settings, message)
    }

    pub(crate) fn timeout(settings: &ConnectionSettings) -> Self {
        let message = format!(
            "no answer within {}: is the server reachable? (database.connect_timeout)",
            crate::config::show_duration(settings.connect_timeout())
        );
        Self::new(settings, ConnectFailure::Timeout, message)
    }

    pub(super) fn read_only(settings: &ConnectionSettings) -> Self {
        let message = "it is read-only (a standby, or default_transaction_read_only is on)";
        Self::new(settings, ConnectFailure::ReadOnly, message.to_owned())
    }

    /// Of several servers none can be written to: what is wrong with each. If that may pass with one, it may with all.
    pub(super) fn nowhere(settings: &ConnectionSettings, failures: &[(String, Self)]) -> Self {
        let kinds = || failures.iter().map(|(_, error)| error.failure);
        let kind = kinds().find(|failure| failure.is_temporary());
        let kind = kind.or(kinds().next()).unwrap_or(ConnectFailure::Other);
        let each = failures
            .iter()
            .map(|(server, error)| format!("{server}: {}", error.message));
        let each: Vec<String> = each.collect();
        let message = format!("none of the servers can be written to: {}", each.join("; "));
        Self::new(settings, kind, message)
    }

    pub(super) fn version(settings: &ConnectionSettings, number: u32, oldest: u32) -> Self {
        let message = format!(
            "PostgreSQL {}.{} is too old: {oldest} or newer is needed",
            number / 10_000,
            number % 10_000
        );
        Self::new(settings, ConnectFailure::Version, message)
    }

    /// Classifies what sqlx reports of an attempt to connect.
    pub(crate) fn classify(settings: &ConnectionSettings, error: &sqlx::Error) -> Self {
        let (failure, message) = match error {
            sqlx::Error::Io(error) => of_io(settings, error),
            sqlx::Error::Tls(error) => of_tls(error.as_ref()),
            error => match DatabaseError::of(error) {
                Some(error) => of_server(settings, &error),
                None => (
                    ConnectFailure::Other,
                    format!("{error}: is that a PostgreSQL server?"),
                ),
            },
        };
        // Some messages of libraries have several lines.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Self::new(settings, failure, message)
    }
}

fn of_io(settings: &ConnectionSettings, error: &std::io::Error) -> (ConnectFailure, String) {
    let server = settings.server();
    match error.kind() {
        // rustls reports what goes wrong in the handshake, bad certificates included, as invalid data.
        ErrorKind::InvalidData => of_tls(error),
        ErrorKind::ConnectionRefused => (
            ConnectFailure::NoServer,
            format!(
                "nobody answers at {server} (connection refused): is PostgreSQL running there?"
            ),
        ),
        ErrorKind::NotFound if settings.socket_directory().is_some() => (
            ConnectFailure::NoServer,
            format!(
                "there is no socket for {server}: is PostgreSQL running, with its socket in that directory?"
            ),
        ),
        // over TCP no file is needed but those of certificates
        ErrorKind::NotFound => (
            ConnectFailure::Tls,
            format!(
                "no secure connection: a certificate cannot be read ({error}): name the authority's in database.sslrootcert, or install the system's (package ca-certificates)"
            ),
        ),
        ErrorKind::PermissionDenied => (
            ConnectFailure::Forbidden,
            format!(
                "permission denied on the socket for {server}: may this system user enter the directory?"
            ),
        ),
        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => (
            ConnectFailure::NotReady,
            format!(
                "the connection was closed before the login was finished ({error}): see the server's log"
            ),
        ),
        // The standard library has no kind for a name that can't be resolved.
        _ if error.raw_os_error().is_none() && error.to_string().contains("lookup") => (
            ConnectFailure::UnknownHost,
            format!("the host's name cannot be resolved ({error}): is it spelt right?"),
        ),
        _ => (
            ConnectFailure::NoServer,
            format!("{server} cannot be reached: {error}"),
        ),
    }
}

/// rustls names kinds of errors as its code does; people get a sentence as well.
fn of_tls(error: &(dyn std::error::Error + 'static)) -> (ConnectFailure, String) {
    let text = error.to_string();
    let has = |part| text.contains(part);
    let remedy = if has("does not support TLS") {
        "turn it on there (ssl = on), or set database.sslmode = \"prefer\""
    } else if has("UnknownIssuer") || has("BadSignature") {
        "the server's certificate is signed by an authority that is not trusted here: name that authority's certificate in database.sslrootcert"
    } else if has("not valid for name") || has("NotValidForName") {
        "the server's certificate is made out to another host: name the host in database.host as in the certificate (database.sslrootcert only says who signs)"
    } else if has("Expired") || has("NotValidYet") {
        "the server's certificate has expired or is not valid yet: see to it, and to the clocks"
    } else if has("certificate") {
        "see database.sslrootcert, and the server's certificate"
    } else {
        "see database.sslmode, sslrootcert, sslcert and sslkey"
    };
    (
        ConnectFailure::Tls,
        format!("no secure connection: {text}: {remedy}"),
    )
}

/// By SQLSTATE and reporting routine, since messages come in the server's language.
fn of_server(settings: &ConnectionSettings, error: &DatabaseError) -> (ConnectFailure, String) {
    let user = quoted(settings.user());
    let database = quoted(settings.database());
    let routine = error.routine.as_deref().unwrap_or_default();
    let (failure, remedy) = match error.sqlstate.as_str() {
        "28P01" => (
            ConnectFailure::Password,
            "check the password (database.password_file, PGPASSWORD, ~/.pgpass)".to_owned(),
        ),
        "28000" if routine == "InitializeSessionUserId" => (
            ConnectFailure::Role,
            format!("name another in database.user, or as administrator: CREATE ROLE {user} LOGIN, or ALTER ROLE {user} LOGIN"),
        ),
        "28000" if routine == "auth_failed" => (
            ConnectFailure::Refused,
            "the server's pg_hba.conf asks for another kind of login: run as that system user, or connect with a password".to_owned(),
        ),
        "28000" => (
            ConnectFailure::Refused,
            "let this user and host in by a line in the server's pg_hba.conf, or show the certificate it asks for (database.sslcert, database.sslkey)".to_owned(),
        ),
        "3D000" => (
            ConnectFailure::UnknownDatabase,
            format!("name another in database.dbname, or create it: CREATE DATABASE {database}"),
        ),
        "42501" => (
            ConnectFailure::Privilege,
            format!("as administrator: GRANT CONNECT ON DATABASE {database} TO {user}"),
        ),
        "53300" => (
            ConnectFailure::TooManyConnections,
            "lower workers.max, or raise the server's max_connections or the role's limit".to_owned(),
        ),
        "57P03" => (ConnectFailure::NotReady, "try again in a moment".to_owned()),
        "57P01" | "57P02" => (ConnectFailure::NotReady, "the server is being stopped".to_owned()),
        _ => return (ConnectFailure::Other, error.to_string()),
    };
    (failure, format!("{}: {remedy}", error.message))
}

/// An SQL identifier for messages.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
