//! Against a listener that answers a login with prepared bytes: every failure can be had without a server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{DatabaseConfig, Environment, SslMode};
use crate::connect::ConnectFailure;

fn settings(host: &str, port: u16) -> ConnectionSettings {
    let config = DatabaseConfig {
        host: Some(host.to_owned()),
        port,
        user: Some("ann".to_owned()),
        dbname: Some("shop".to_owned()),
        sslmode: SslMode::Disable,
        ..DatabaseConfig::default()
    };
    ConnectionSettings::resolve(&config, &Environment::default())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn fatal(sqlstate: &str, text: &str, routine: &str) -> Vec<u8> {
    let fields = [
        ('S', "FATAL"),
        ('V', "FATAL"),
        ('C', sqlstate),
        ('M', text),
        ('L', "987654"),
        ('R', routine),
    ];
    let mut body: Vec<u8> = fields
        .iter()
        .flat_map(|(field, value)| format!("{field}{value}\0").into_bytes())
        .collect();
    body.push(0);
    message(b'E', &body)
}

fn login_to(version: &str) -> Vec<u8> {
    [
        message(b'R', &0u32.to_be_bytes()),
        message(b'S', format!("server_version\0{version}\0").as_bytes()),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
        // to the settings of the session
        message(b'C', b"SET\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// The outcome of connecting to something that reads the startup packet, writes `answer` and closes.
async fn outcome(answer: Vec<u8>) -> Result<PgConnection, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u32().await.unwrap();
        let mut packet = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut packet).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        stream.shutdown().await.unwrap();
        // not closed before the answer has been read
        stream
    };
    let settings = settings("127.0.0.1", port);
    tokio::join!(server, open(&settings, "test")).1
}

#[track_caller]
fn assert_says(error: &ConnectError, failure: ConnectFailure, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.failure, failure, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        !text.contains("987654"),
        "a line of PostgreSQL's source: {text}"
    );
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}

#[tokio::test]
async fn the_servers_refusals_are_told_apart_with_a_remedy_each() {
    use ConnectFailure as F;
    for (sqlstate, text, routine, failure, remedy) in [
        (
            "28P01",
            "Passwort falsch",
            "auth_failed",
            F::Password,
            "database.password_file",
        ),
        (
            "28000",
            "Rolle fehlt",
            "InitializeSessionUserId",
            F::Role,
            "CREATE ROLE \"ann\" LOGIN",
        ),
        (
            "28000",
            "no pg_hba.conf entry",
            "ClientAuthentication",
            F::Refused,
            "pg_hba.conf",
        ),
        (
            "28000",
            "Peer authentication failed",
            "auth_failed",
            F::Refused,
            "system user",
        ),
        (
            "3D000",
            "gibt es nicht",
            "InitPostgres",
            F::UnknownDatabase,
            "CREATE DATABASE \"shop\"",
        ),
        (
            "42501",
            "permission denied",
            "CheckMyDatabase",
            F::Privilege,
            "GRANT CONNECT ON DATABASE \"shop\" TO \"ann\"",
        ),
        (
            "53300",
            "zu viele",
            "ProcArrayAdd",
            F::TooManyConnections,
            "max_connections",
        ),
        (
            "57P03",
            "startet gerade",
            "ProcessStartupPacket",
            F::NotReady,
            "try again",
        ),
        (
            "57P01",
            "wird beendet",
            "ProcessInterrupts",
            F::NotReady,
            "being stopped",
        ),
        ("XX000", "krumm", "elog", F::Other, "krumm"),
    ] {
        let error = outcome(fatal(sqlstate, text, routine)).await.unwrap_err();
        assert_says(
            &error,
            failure,
            &[text, remedy, "user ann, database shop, server 127.0.0.1:"],
        );
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_by_its_version() {
    let error = outcome(login_to("14.2 (Debian 14.2-1)")).await.unwrap_err();
    assert_says(
        &error,
        ConnectFailure::Version,
        &["PostgreSQL 14.2 is too old: 15 or newer is needed"],
    );
}

#[tokio::test]
async fn a_server_that_is_new_enough_is_accepted() {
    for version in ["15.0", "18.1", "19devel"] {
        outcome(login_to(version)).await.unwrap();
    }
}

#[tokio::test]
async fn a_listener_that_hangs_up_or_talks_otherwise_is_named() {
    let error = outcome(Vec::new()).await.unwrap_err();
    assert_says(
        &error,
        ConnectFailure::NotReady,
        &["closed before the login was finished"],
    );
    let error = outcome(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())
        .await
        .unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
}

#[tokio::test]
async fn no_server_is_said_to_be_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = open(&settings("127.0.0.1", port), "test")
        .await
        .unwrap_err();
    assert_says(
        &error,
        ConnectFailure::NoServer,
        &["is PostgreSQL running", &port.to_string()],
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let error = open(&settings(path, 5432), "test").await.unwrap_err();
    assert_says(&error, ConnectFailure::NoServer, &["no socket", path]);
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_named() {
    // RFC 6761: never resolves. Without a resolver the look-up fails all the same.
    let error = open(&settings("nowhere.invalid", 5432), "test")
        .await
        .unwrap_err();
    assert_says(&error, ConnectFailure::UnknownHost, &["nowhere.invalid"]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = DatabaseConfig {
        host: Some("127.0.0.1".to_owned()),
        port: listener.local_addr().unwrap().port(),
        connect_timeout: std::time::Duration::from_millis(50),
        ..DatabaseConfig::default()
    };
    let settings = ConnectionSettings::resolve(&config, &Environment::default());
    let error = open(&settings, "test").await.unwrap_err();
    assert_says(&error, ConnectFailure::Timeout, &["no answer within 50ms"]);
}

/// The outcome of asking for TLS from something that answers with these bytes and closes.
async fn outcome_of_tls(answer: &[u8]) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = DatabaseConfig {
        host: Some("127.0.0.1".to_owned()),
        port: listener.local_addr().unwrap().port(),
        sslmode: SslMode::Require,
        ..DatabaseConfig::default()
    };
    let settings = ConnectionSettings::resolve(&config, &Environment::default());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 8]).await.unwrap();
        stream.write_all(answer).await.unwrap();
        // What the client still sends is taken, or its end of the connection would be reset.
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    tokio::join!(server, open(&settings, "test")).1.unwrap_err()
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_not_there() {
    let error = outcome_of_tls(b"N").await;
    assert_says(
        &error,
        ConnectFailure::Tls,
        &["does not support TLS", "ssl = on"],
    );
}

#[tokio::test]
async fn a_failed_handshake_is_a_failure_of_tls() {
    let error = outcome_of_tls(b"Sthis is no TLS record").await;
    assert_says(&error, ConnectFailure::Tls, &["sslmode"]);
}
