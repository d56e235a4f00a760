//! Certificates of a test's own authority, made by openssl.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::TestServer;

/// A certificate authority that nobody else trusts.
#[derive(Debug)]
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    /// None, with a line that says so, if there is no openssl on this machine.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "there is no openssl");
            eprintln!("NOT TESTED: there is no openssl here");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let own = Self { directory };
        let subject = format!("/CN={name}");
        own.openssl(
            &format!("req -x509 {NEW_KEY} -days 2 -keyout ca.key -out ca.crt -subj"),
            &[&subject],
        );
        Some(own)
    }

    /// The authority's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// A certificate for a common name, with subject alternative names if there are any, and its key.
    pub(crate) fn issue(&self, name: &str, alternatives: &str) -> (PathBuf, PathBuf) {
        let (key, request, certificate) = (
            format!("{name}.key"),
            format!("{name}.csr"),
            format!("{name}.crt"),
        );
        let subject = format!("/CN={name}");
        self.openssl(
            &format!("req {NEW_KEY} -keyout {key} -out {request} -subj"),
            &[&subject],
        );
        let mut extensions = "basicConstraints=CA:FALSE\n".to_owned();
        if !alternatives.is_empty() {
            writeln!(extensions, "subjectAltName={alternatives}").unwrap();
        }
        std::fs::write(self.file("extensions"), extensions).unwrap();
        let sign = format!(
            "x509 -req -in {request} -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {certificate}"
        );
        self.openssl(&sign, &[]);
        (self.file(&certificate), self.file(&key))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, words: &str, more: &[&str]) {
        let output = Command::new("openssl")
            .args(words.split(' '))
            .args(more)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "openssl {words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// Has a server speak TLS, with a certificate made out to these names, and let in by TCP whom these lines of
/// `pg_hba.conf` say.
pub(crate) async fn serve_tls(server: &TestServer, authority: &Authority, names: &str, hba: &str) {
    let (certificate, key) = authority.issue("server", names);
    let read = |path| std::fs::read_to_string(path).unwrap();
    for (name, text) in [
        ("server.crt", read(certificate)),
        ("server.key", read(key)),
        ("root.crt", read(authority.certificate())),
        ("pg_hba.conf", format!("local all all trust\n{hba}\n")),
    ] {
        // by the server itself, as they must be its own; in its data directory, where it runs
        let write = format!(
            "COPY (SELECT unnest(string_to_array($t${}$t$, E'\\n'))) TO PROGRAM 'umask 077; cat > {name}'",
            text.trim_end()
        );
        server.execute(&write).await;
    }
    for setting in [
        "ssl_cert_file = 'server.crt'",
        "ssl_key_file = 'server.key'",
        "ssl_ca_file = 'root.crt'",
        "ssl = on",
    ] {
        server.execute(&format!("ALTER SYSTEM SET {setting}")).await;
    }
    server.execute("SELECT pg_reload_conf()").await;
}
