//! The operating system's account that runs the server: `PostgreSQL` refuses to run as root.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::error::ScratchError;

/// Who runs the server and owns its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// This process's own user.
    Own,
    /// Another one, because this process is root.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// This user; if that is root, the one who called sudo, else `postgres`, else `nobody`.
    pub(super) fn choose() -> Result<Self, ScratchError> {
        if own_uid().map_err(ScratchError::io("create a temporary file"))? != 0 {
            return Ok(Self::Own);
        }
        let sudo = (env::var("SUDO_UID").ok(), env::var("SUDO_GID").ok());
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        instead_of_root((sudo.0.as_deref(), sudo.1.as_deref()), &passwd)
            .ok_or(ScratchError::NoAccount)
    }

    /// Makes `command` run as this account.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            // The standard library also drops root's supplementary groups when it changes the user.
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives a file or directory to this account.
    pub(super) fn take(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)),
        }
    }

    /// Checks that this account can enter the directory, which may lie in a private one of root's.
    pub(super) fn check_can_enter(&self, directory: &Path) -> Result<(), ScratchError> {
        let Self::Other { name, uid, gid } = self else {
            return Ok(());
        };
        let enterable = |path: &Path| {
            fs::metadata(path).is_ok_and(|metadata| {
                let shift = match (metadata.uid() == *uid, metadata.gid() == *gid) {
                    (true, _) => 6,
                    (false, true) => 3,
                    (false, false) => 0,
                };
                metadata.mode() >> shift & 1 == 1
            })
        };
        let path = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        match path.ancestors().find(|ancestor| !enterable(ancestor)) {
            None => Ok(()),
            Some(closed) => Err(ScratchError::Unreachable {
                account: name.clone(),
                path: closed.to_owned(),
            }),
        }
    }

    /// A word for cache keys and messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Own => "own",
            Self::Other { name, .. } => name,
        }
    }
}

/// The effective user of this process, read off a file it makes: the standard library has no call for it.
fn own_uid() -> io::Result<u32> {
    Ok(tempfile::tempfile()?.metadata()?.uid())
}

fn instead_of_root(sudo: (Option<&str>, Option<&str>), passwd: &str) -> Option<Account> {
    let entries = || passwd.lines().filter_map(passwd_entry);
    if let (Some(uid), Some(gid)) = (number(sudo.0), number(sudo.1))
        && uid != 0
    {
        let name = entries()
            .find(|entry| entry.1 == uid)
            .map_or_else(|| uid.to_string(), |entry| entry.0.to_owned());
        return Some(Account::Other { name, uid, gid });
    }
    ["postgres", "nobody"].iter().find_map(|wanted| {
        entries()
            .find(|entry| entry.0 == *wanted && entry.1 != 0)
            .map(|(name, uid, gid)| Account::Other {
                name: name.to_owned(),
                uid,
                gid,
            })
    })
}

fn number(text: Option<&str>) -> Option<u32> {
    text?.parse().ok()
}

/// Name, uid and gid of a line of `/etc/passwd`.
fn passwd_entry(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((name, uid, gid))
}

#[cfg(test)]
mod tests {
    use super::{Account, instead_of_root};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n\
        postgres:x:101:104::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";

    fn chosen(sudo: (Option<&str>, Option<&str>), passwd: &str) -> Option<(String, u32, u32)> {
        match instead_of_root(sudo, passwd)? {
            Account::Own => None,
            Account::Other { name, uid, gid } => Some((name, uid, gid)),
        }
    }

    #[test]
    fn root_by_sudo_becomes_the_caller_again() {
        assert_eq!(
            chosen((Some("1000"), Some("1001")), PASSWD),
            Some(("ann".into(), 1000, 1001))
        );
        assert_eq!(
            chosen((Some("7"), Some("8")), PASSWD),
            Some(("7".into(), 7, 8))
        );
    }

    #[test]
    fn root_itself_becomes_postgres_or_else_nobody() {
        assert_eq!(
            chosen((None, None), PASSWD),
            Some(("postgres".into(), 101, 104))
        );
        assert_eq!(
            chosen((Some("0"), Some("0")), PASSWD),
            Some(("postgres".into(), 101, 104))
        );
        let without = PASSWD.replace("postgres:", "other:");
        assert_eq!(
            chosen((None, None), &without),
            Some(("nobody".into(), 65534, 65533))
        );
    }

    #[test]
    fn root_never_stays_root() {
        assert_eq!(chosen((None, None), "postgres:x:0:0::/:/bin/sh\n"), None);
        assert_eq!(chosen((None, None), ""), None);
    }
}
