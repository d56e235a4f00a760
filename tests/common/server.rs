//! A `PostgreSQL` server for one test.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;

use mvrefreshd::scratch::{Cluster, Installation, Options, SUPERUSER};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// The database of a new cluster.
const DATABASE: &str = "postgres";

/// Where `scripts/fetch-postgres.sh` puts the majors that the system doesn't have.
fn extra_installations() -> &'static Path {
    // The test programs' own temporary directory lies directly in the target directory.
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .map(|target| target.join("postgresql").leak())
        .expect("cargo's temporary directory has a parent")
}

/// The installation of a major version, if there is one on this machine.
pub(crate) fn installation(major: u32) -> Option<Installation> {
    let fetched = extra_installations().join(major.to_string()).join("bin");
    Installation::in_directory(&fetched).or_else(|| {
        Installation::all(None)
            .into_iter()
            .find(|installation| installation.major() == major)
    })
}

/// What to upgrade from, and to: the newest version here that has `pg_upgrade` (see `scripts/fetch-pg-upgrade.sh`).
pub(crate) fn with_pg_upgrade() -> Option<(Installation, Installation)> {
    let old = installation(15)?;
    let fetched = extra_installations().join("with-pg-upgrade/pgserver/pginstall/bin");
    let new = Installation::in_directory(&fetched).unwrap_or_else(|| old.clone());
    new.program("pg_upgrade").ok()?;
    Some((old, new))
}

/// The majors that can be tested here, in ascending order; at least one.
pub(crate) fn covered_majors() -> Vec<u32> {
    let mut majors: Vec<u32> = Installation::all(Some(extra_installations()))
        .iter()
        .map(Installation::major)
        .collect();
    majors.sort_unstable();
    majors.dedup();
    assert!(!majors.is_empty(), "no PostgreSQL at all; run: make setup");
    majors
}

/// The options of the tests' clusters.
pub(crate) fn options() -> Options {
    Options {
        template_directory: Some(env!("CARGO_TARGET_TMPDIR").into()),
        ..Options::default()
    }
}

/// A private server with an empty database, removed when dropped. Also a [`Cluster`], by dereference.
#[derive(Debug)]
pub(crate) struct TestServer {
    cluster: Cluster,
}

impl TestServer {
    /// A server of the default version.
    pub(crate) async fn start() -> Self {
        Self::start_with(options()).await
    }

    /// A server of a major version; none, with a line that says so, if it isn't on this machine.
    pub(crate) async fn on_version(major: u32) -> Option<Self> {
        let Some(installation) = installation(major) else {
            eprintln!(
                "not tested: there is no PostgreSQL {major} here (scripts/fetch-postgres.sh {major})"
            );
            return None;
        };
        Some(
            Self::start_with(Options {
                installation: Some(installation),
                ..options()
            })
            .await,
        )
    }

    /// A server made as the options say; begin with [`options`].
    pub(crate) async fn start_with(mut options: Options) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            if options.installation.is_none() {
                options.installation = Installation::default_one().ok().or_else(|| {
                    let fetched = Installation::all(Some(extra_installations()));
                    fetched.into_iter().next()
                });
            }
            Cluster::start(&options)
        });
        let cluster = started
            .await
            .unwrap()
            .unwrap_or_else(|error| panic!("{error}"));
        Self { cluster }
    }

    /// The URL of the test's database for the superuser.
    pub(crate) fn url(&self) -> String {
        self.cluster.url(DATABASE)
    }

    /// The URL of another database for the superuser.
    pub(crate) fn url_of(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    /// The URL of another database for a role.
    pub(crate) fn url_in(&self, database: &str, role: &str) -> String {
        self.cluster.url_as(role, database)
    }

    /// The URL of the test's database for a role.
    pub(crate) fn url_as(&self, role: &str) -> String {
        self.cluster.url_as(role, DATABASE)
    }

    /// A connection to the test's database as the superuser.
    pub(crate) async fn connect(&self) -> PgConnection {
        self.connect_to(DATABASE, SUPERUSER).await
    }

    /// A connection to the test's database as a role.
    pub(crate) async fn connect_as(&self, role: &str) -> PgConnection {
        self.connect_to(DATABASE, role).await
    }

    /// A connection to any database as any role.
    pub(crate) async fn connect_to(&self, database: &str, role: &str) -> PgConnection {
        let options: PgConnectOptions = self.cluster.url_as(role, database).parse().unwrap();
        // Statements of a test may take long; that isn't worth a warning.
        PgConnection::connect_with(&options.disable_statement_logging())
            .await
            .unwrap()
    }

    /// Creates a role that may log in, with more attributes in SQL if wanted (`CREATEROLE`, `IN ROLE other`).
    pub(crate) async fn create_role(&self, name: &str, attributes: &str) {
        let name = name.replace('"', "\"\"");
        self.execute(&format!("CREATE ROLE \"{name}\" LOGIN {attributes}"))
            .await;
    }

    /// Creates another database.
    pub(crate) async fn create_database(&self, name: &str) {
        let name = name.replace('"', "\"\"");
        self.execute(&format!("CREATE DATABASE \"{name}\"")).await;
    }

    /// Runs statements in the test's database as the superuser.
    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = self.connect().await;
        let done = sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&mut connection)
            .await;
        done.unwrap_or_else(|error| panic!("{error}\nin: {statements}"));
        connection.close().await.unwrap();
    }

    /// What psql prints for a command in the test's database as the superuser: unaligned, rows only, errors as a panic.
    /// Uses any psql there is, as the fetched versions come without it.
    pub(crate) fn psql(&self, command: &str) -> String {
        let own = self.cluster.installation().program("psql").ok();
        let any = || {
            Installation::all(None)
                .iter()
                .find_map(|installation| installation.program("psql").ok())
        };
        let program = own.or_else(any).unwrap_or_else(|| "psql".into());
        let output = Command::new(program)
            .args([
                "--no-psqlrc",
                "--quiet",
                "--no-align",
                "--tuples-only",
                "--set=ON_ERROR_STOP=1",
            ])
            .args(["--dbname", &self.url(), "--command", command])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql: {message}\nin: {command}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }
}

impl Deref for TestServer {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for TestServer {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}
