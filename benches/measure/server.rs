//! Servers under measurement, and pgbench against them.

use std::path::Path;
use std::process::Output;

use mvrefreshd::dictionary::installation;
use mvrefreshd::sql::ModuleSchema;

use super::backend::Backend;
use crate::common::{TestServer, options};

/// A server whose memory holds everything, with the module installed, and a session of it. Nothing is vacuumed by itself, so
/// that nothing else uses the processor.
pub(crate) async fn roomy_server(shared_buffers: &str) -> (TestServer, Backend) {
    let mut settings = options();
    for (name, value) in [
        ("shared_buffers", shared_buffers),
        ("max_wal_size", "16GB"),
        ("autovacuum", "off"),
    ] {
        settings.settings.push((name.to_owned(), value.to_owned()));
    }
    let server = TestServer::start_with(settings).await;
    let mut session = Backend::open(&server).await;
    installation::install(&mut session.connection, &ModuleSchema::new("mvrefresh"))
        .await
        .unwrap();
    session.run("RESET search_path").await;
    (server, session)
}

/// Runs a script by pgbench with these further arguments.
pub(crate) async fn pgbench(server: &TestServer, script: &Path, arguments: &[&str]) -> Output {
    let program = server.installation().program("pgbench").unwrap();
    let output = tokio::process::Command::new(program)
        .args(["-n", "-j", "1"])
        .args(arguments)
        .arg("-f")
        .arg(script)
        .arg("-h")
        .arg(server.socket_dir())
        .args([
            "-p",
            &server.port().to_string(),
            "-U",
            server.superuser(),
            "postgres",
        ])
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}
