//! A new data directory, made by `initdb` or copied from a template that an earlier `initdb` made.
//!
//! Templates are for the tests: `initdb` takes most of a second, a copy a few hundredths.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::account::Account;
use super::binaries::Installation;
use super::cluster::SUPERUSER;
use super::error::ScratchError;
use super::files::copy_directory;
use super::server;

/// The file in a data directory that holds the superuser's password, for connections by TCP.
pub(super) const PASSWORD_FILE: &str = "scratch_password";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Any user may connect through the socket, whose directory is private; by TCP it takes a password.
const INITDB_ARGUMENTS: [&str; 6] = [
    "--encoding=UTF8",
    "--locale=C",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--no-sync",
    "--no-instructions",
];

/// Makes the data directory `data`, which must not exist.
pub(super) fn make_data_directory(
    data: &Path,
    installation: &Installation,
    account: &Account,
    templates: Option<&Path>,
) -> Result<(), ScratchError> {
    let Some(templates) = templates else {
        return initdb(data, installation, account);
    };
    let store = Store::open(templates)?;
    let template = store.path_of(installation, account);
    let failed = || ScratchError::io(format!("copy the template {}", template.display()));
    if !template.is_dir() {
        let _lock = store.lock()?;
        // Another process may have made it while this one waited.
        if !template.is_dir() {
            store.remove_old_ones();
            initdb(data, installation, account)?;
            // A template gets its name when it is complete, so whoever sees one can use it.
            let unfinished = tempfile::tempdir_in(&store.directory).map_err(failed())?;
            let copy = unfinished.path().join("data");
            copy_directory(data, &copy, None).map_err(failed())?;
            return fs::rename(&copy, &template).map_err(failed());
        }
    }
    copy_directory(&template, data, Some(account)).map_err(failed())
}

/// A private directory of templates.
struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the store below `parent`; refuses one that another user could have filled.
    fn open(parent: &Path) -> Result<Self, ScratchError> {
        let directory = parent.join("postgresql-templates");
        let failed = || ScratchError::io(format!("make the directory {}", directory.display()));
        fs::create_dir_all(parent).map_err(failed())?;
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed()(error));
            }
            _ => {}
        }
        let metadata = fs::symlink_metadata(&directory).map_err(failed())?;
        let own = tempfile::tempfile()
            .and_then(|file| file.metadata())
            .map_err(failed())?
            .uid();
        if metadata.is_dir()
            && metadata.uid() == own
            && metadata.permissions().mode().trailing_zeros() >= 6
        {
            Ok(Self { directory })
        } else {
            Err(ScratchError::UnsafeTemplate(directory))
        }
    }

    /// Where the template of an installation is or will be. Templates are for a day, as systems that clean their
    /// temporary directories remove old files one by one.
    fn path_of(&self, installation: &Installation, account: &Account) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        (
            installation.bin(),
            installation.version(),
            account.name(),
            INITDB_ARGUMENTS,
            SUPERUSER,
        )
            .hash(&mut hasher);
        let program = fs::metadata(installation.bin().join("initdb"));
        program
            .map(|metadata| (metadata.size(), metadata.mtime()))
            .ok()
            .hash(&mut hasher);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (now.as_secs() / DAY.as_secs()).hash(&mut hasher);
        self.directory
            .join(format!("{}-{:016x}", installation.major(), hasher.finish()))
    }

    /// Held by the process that makes a template, until the value is dropped.
    fn lock(&self) -> Result<File, ScratchError> {
        let path = self.directory.join("lock");
        let file = File::create(&path).and_then(|file| file.lock().map(|()| file));
        file.map_err(ScratchError::io(format!("lock {}", path.display())))
    }

    /// Removes what nobody can be copying from any more.
    fn remove_old_ones(&self) {
        let age = |path: &Path| {
            fs::metadata(path)
                .and_then(|metadata| metadata.modified())
                .ok()?
                .elapsed()
                .ok()
        };
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() && age(&path).is_some_and(|age| age > 2 * DAY) {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

fn initdb(data: &Path, installation: &Installation, account: &Account) -> Result<(), ScratchError> {
    let password_file = data.with_file_name("initial_password");
    write_private(&password_file, &random_password()?, account).map_err(ScratchError::io(
        format!("write {}", password_file.display()),
    ))?;
    let mut command = Command::new(installation.program("initdb")?);
    command
        .args(INITDB_ARGUMENTS)
        .arg(format!("--username={SUPERUSER}"))
        .arg("--pwfile")
        .arg(&password_file)
        .arg("-D")
        .arg(data);
    server::run(command, "initdb", data, account)?;
    let kept = data.join(PASSWORD_FILE);
    fs::rename(&password_file, &kept).map_err(ScratchError::io(format!("write {}", kept.display())))
}

fn write_private(path: &Path, text: &str, account: &Account) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    account.take(path)
}

fn random_password() -> Result<String, ScratchError> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(ScratchError::io("read /dev/urandom"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::Store;
    use crate::scratch::ScratchError;

    #[test]
    fn a_store_that_others_can_enter_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let store = Store::open(parent.path()).unwrap();
        assert!(
            Store::open(parent.path()).is_ok(),
            "opening it again is fine"
        );

        fs::set_permissions(&store.directory, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            Store::open(parent.path()),
            Err(ScratchError::UnsafeTemplate(_))
        ));
    }

    #[test]
    fn a_link_is_no_store() {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), parent.path().join("postgresql-templates"))
            .unwrap();
        assert!(matches!(
            Store::open(parent.path()),
            Err(ScratchError::UnsafeTemplate(_))
        ));
    }
}
