//! TLS with certificates that are verified, logins by SCRAM, by certificate and by password file; and nothing that is
//! secret is seen anywhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::{
    Authority, Daemon, Finished, Signal, TestServer, count, execute, get, options, run, serve_tls,
    until, url_of,
};
use mvrefreshd::scratch::Options;
use sqlx::PgConnection;
use tempfile::TempDir;

/// What nobody may see; long enough to be found anywhere.
const PASSWORD: &str = "s3cret-Of-The-Test";

/// Users log in by SCRAM over TLS, `carol` by her certificate, nobody without TLS.
const HBA: &str = "hostssl all carol 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all all all reject";

struct Place {
    server: TestServer,
    authority: Authority,
    directory: TempDir,
}

impl Place {
    /// A server whose certificate is made out to `localhost`.
    async fn new() -> Option<Self> {
        let authority = Authority::new("authority of the test")?;
        let server = TestServer::start_with(Options {
            tcp: true,
            ..options()
        })
        .await;
        serve_tls(&server, &authority, "DNS:localhost", HBA).await;
        for role in ["carol", "dave"] {
            server
                .execute(&format!(
                    "CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}'"
                ))
                .await;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("password"), PASSWORD).unwrap();
        Some(Self {
            server,
            authority,
            directory,
        })
    }

    /// `dave`, with his password in a file, and the authority's certificate.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let password = self.directory.path().join("password");
        vec![
            ("PGHOST", "localhost".to_owned()),
            ("PGPORT", self.server.port().to_string()),
            ("PGUSER", "dave".to_owned()),
            ("PGDATABASE", "postgres".to_owned()),
            ("PGSSLMODE", "verify-full".to_owned()),
            (
                "PGSSLROOTCERT",
                self.authority.certificate().display().to_string(),
            ),
            (
                "MVREFRESHD_DATABASE__PASSWORD_FILE",
                password.display().to_string(),
            ),
        ]
    }

    /// The same, with some changes.
    fn with(&self, changes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let mut environment = self.environment();
        for (name, value) in changes {
            environment.retain(|(known, _)| known != name);
            environment.push((*name, (*value).to_owned()));
        }
        environment
    }
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

async fn install(environment: &[(&'static str, String)]) -> Finished {
    run(&["install"], &borrowed(environment)).await
}

#[tokio::test]
async fn every_session_is_encrypted_and_logged_in_by_scram_with_the_password_of_a_file() {
    let Some(place) = Place::new().await else {
        return;
    };
    let mut sql = place.server.connect().await;
    let scram = "SELECT count(*) FROM pg_authid WHERE rolname = 'dave' AND rolpassword LIKE 'SCRAM-SHA-256$%'";
    assert_eq!(count(&mut sql, scram).await, 1);
    let mut daemon = Daemon::spawn(&["run"], &borrowed(&place.environment()));
    daemon.wait_for_line("the dictionary has been read").await;
    execute(
        &mut sql,
        "CREATE TABLE base (n integer); INSERT INTO base VALUES (1);
         SELECT mvrefresh.create_materialized_view('v', 'SELECT sum(n) FROM base', 1, refresh_method => 'complete')",
    )
    .await;
    until_refreshed(&mut sql).await;
    let encrypted = "SELECT count(*) FILTER (WHERE NOT ssl OR usename <> 'dave') = 0 AND count(*) >= 4
        FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'mvrefreshd%'";
    until(&mut sql, encrypted).await;

    // a password that is changed in its file needs no restart
    let path = place.directory.path().join("password");
    execute(&mut sql, "ALTER ROLE dave PASSWORD 'another'").await;
    fs::write(&path, "another\n").unwrap();
    let end =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'dave'";
    assert!(count(&mut sql, end).await > 0);
    until_refreshed(&mut sql).await;
}

/// Waits until the view has been refreshed twice from now on.
async fn until_refreshed(sql: &mut PgConnection) {
    let refreshes = "SELECT count(*) FROM mvrefresh.refresh_history WHERE outcome = 'succeeded' AND trigger = 'schedule'";
    let before = count(sql, refreshes).await;
    until(sql, &format!("({refreshes}) >= {}", before + 2)).await;
}

#[tokio::test]
async fn a_server_that_can_not_show_who_it_is_is_refused_in_a_readable_line() {
    let Some(place) = Place::new().await else {
        return;
    };
    let stranger = Authority::new("stranger").unwrap();
    let stranger = stranger.certificate().display().to_string();
    for (changes, part) in [
        (
            &[("PGSSLROOTCERT", stranger.as_str())][..],
            "an authority that is not trusted here",
        ),
        (
            &[("PGSSLROOTCERT", "system")],
            "an authority that is not trusted here",
        ),
        (&[("PGHOST", "127.0.0.1")], "is made out to another host"),
    ] {
        for command in ["install", "run"] {
            let finished = run(&[command], &borrowed(&place.with(changes))).await;
            assert_eq!(finished.code, Some(69), "{changes:?}: {}", finished.stderr);
            let message = &finished.stderr;
            assert!(message.contains("no secure connection: "), "{message}");
            assert!(message.contains(part), "no {part:?} in {message}");
            assert!(message.contains("database.sslrootcert"), "{message}");
            assert_eq!(message.trim_end().lines().count(), 1, "{message}");
        }
    }
    // it is the name alone that verify-ca leaves out
    let changes = [("PGHOST", "127.0.0.1"), ("PGSSLMODE", "verify-ca")];
    let finished = install(&place.with(&changes)).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let finished = install(&place.with(&[("PGSSLMODE", "disable")])).await;
    assert_eq!(finished.code, Some(77), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("pg_hba.conf"),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn a_client_certificate_is_all_that_a_login_needs_and_what_is_wrong_with_one_is_said() {
    let Some(place) = Place::new().await else {
        return;
    };
    let (certificate, key) = place.authority.issue("carol", "");
    let (others_certificate, others_key) = place.authority.issue("erin", "");
    let login = |certificate: &Path, key: &Path| {
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let mut environment = place.with(&[
            ("PGUSER", "carol"),
            ("PGSSLCERT", &certificate),
            ("PGSSLKEY", &key),
        ]);
        environment.retain(|(name, _)| *name != "MVREFRESHD_DATABASE__PASSWORD_FILE");
        environment
    };
    let finished = install(&login(&certificate, &key)).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let mut daemon = Daemon::spawn(&["run"], &borrowed(&login(&certificate, &key)));
    daemon.wait_for_line("the dictionary has been read").await;

    let finished = install(&login(&others_certificate, &others_key)).await;
    assert_eq!(finished.code, Some(77), "{}", finished.stderr);
    let finished = install(&place.with(&[("PGUSER", "carol")])).await;
    assert_eq!(finished.code, Some(77), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("database.sslcert"),
        "{}",
        finished.stderr
    );
    // a key that is not the certificate's
    let finished = install(&login(&certificate, &others_key)).await;
    assert_eq!(finished.code, Some(69), "{}", finished.stderr);
    assert!(finished.stderr.contains("sslkey"), "{}", finished.stderr);
}

/// Everything that a process shows of itself: its command line, to everybody.
fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_password_is_never_seen_however_it_is_given_and_whatever_goes_wrong() {
    let Some(place) = Place::new().await else {
        return;
    };
    let port = place.server.port();
    let url = |password: &str| {
        format!("postgres://dave:{password}@localhost:{port}/postgres?sslmode=require")
    };
    let file = place.directory.path().join("m.toml");
    let tables = format!(
        "[log]\nlevel = 'trace'\n[[database]]\nname = 'one'\nurl = '{}'\n[[database]]\nname = 'two'\nhost = 'localhost'\nport = {port}\n\
         user = 'dave'\ndbname = 'postgres'\nschema = 'other'\npassword = '{PASSWORD}'\nsslmode = 'require'\n[[database]]\nname = 'wrong'\nschema = 'third'\nurl = '{}'\n",
        url(PASSWORD),
        url(&format!("{PASSWORD}x")),
    );
    fs::write(&file, tables).unwrap();
    let path = file.to_str().unwrap();
    let mut seen = String::new();

    // a daemon at its most talkative, with one login that is refused
    let listen = ("MVREFRESHD_HTTP__LISTEN", "127.0.0.1:0");
    let mut daemon = Daemon::spawn(&["run", "--config", path], &[listen]);
    let address = url_of(&mut daemon).await;
    daemon
        .wait_for_nth_line(2, "the dictionary has been read")
        .await;
    daemon.wait_for_line("password authentication failed").await;
    for path in [
        "/metrics",
        "/api/views",
        "/api/views?database=wrong",
        "/readyz",
        "/healthz",
        "/",
    ] {
        let answer = get(&address, path).await;
        seen += &(answer.head + &answer.body);
    }
    seen += &command_line(daemon.pid()).unwrap_or_default();
    fs::write(&file, "[database]\npassword = 5\n").unwrap();
    daemon.signal(Signal::Hangup).await;
    daemon.wait_for_line("the old one stays in force").await;
    daemon.signal(Signal::Terminate).await;
    daemon.wait_for_exit().await;
    seen += &daemon.lines().join("\n");

    // commands: what it comes to, what is wrong, a login refused
    let wrong = format!("postgres://dave:{PASSWORD}@localhost:{port}/postgres?sslmod=require");
    let broken = format!("postgres://dave:{PASSWORD}%zz@localhost/postgres");
    let refused = url(&format!("{PASSWORD}y"));
    let good = url(PASSWORD);
    for (arguments, environment) in [
        (
            &["check-config"][..],
            &[("DATABASE_URL", good.as_str())][..],
        ),
        (&["check-config", "--json"], &[("DATABASE_URL", &good)]),
        (&["check-config"], &[("PGPASSWORD", PASSWORD)]),
        (&["check-config"], &[("DATABASE_URL", &wrong)]),
        (&["check-config"], &[("DATABASE_URL", &broken)]),
        (
            &["check-config", "--json"],
            &[("MVREFRESHD_DATABASE__URL", &wrong)],
        ),
        (
            &["status", "--log-level", "trace"],
            &[("DATABASE_URL", &refused)],
        ),
        (
            &["status", "--log-level", "trace"],
            &[("DATABASE_URL", &good)],
        ),
        (&["status", "--json", "--database-url", &refused], &[]),
        (&["check-config", "--database-url", &good], &[]),
        (
            &["run", "--log-level", "trace"],
            &[("DATABASE_URL", &refused)],
        ),
    ] {
        let finished = run(arguments, environment).await;
        seen += &(finished.stdout + &finished.stderr);
    }
    assert!(seen.contains("password authentication failed"), "{seen}");
    assert!(seen.contains("***"), "{seen}");
    assert!(
        seen.contains("sees this password in the list of processes"),
        "{seen}"
    );
    // what a session tells the server of itself, which others there can see
    let mut sql = place.server.connect().await;
    let told: String = sqlx::query_scalar("SELECT coalesce(string_agg(concat_ws(' ', application_name, query), ' '), '') FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    seen += &told;
    assert!(
        !seen.contains(PASSWORD),
        "the password is seen: {}",
        around(&seen)
    );
}

fn around(text: &str) -> String {
    let line = text.lines().find(|line| line.contains(PASSWORD));
    line.unwrap_or_default().to_owned()
}
