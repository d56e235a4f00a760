//! Where the server's programs are on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ScratchError;

/// The oldest major version that mvrefreshd works with.
pub const OLDEST_SUPPORTED_MAJOR: u32 = 15;

/// Directories whose subdirectories (named by version) hold a `bin` directory, by packager.
const VERSIONED: [(&str, &str); 6] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/usr/libexec", "postgresql"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/Applications/Postgres.app/Contents/Versions", ""),
];

/// A directory of server programs, and their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    major: u32,
    version: String,
}

impl Installation {
    /// The installation to use when nothing else is asked for: the one `SCRATCH_PG_BIN` names, else the first
    /// supported one of the system's.
    pub fn default_one() -> Result<Self, ScratchError> {
        if let Some(bin) = env::var_os("SCRATCH_PG_BIN").filter(|value| !value.is_empty()) {
            let bin = PathBuf::from(bin);
            return Self::in_directory(&bin)
                .filter(Self::is_supported)
                .ok_or(ScratchError::NotInConfiguredDirectory(bin));
        }
        system_directories()
            .filter_map(|bin| Self::in_directory(&bin))
            .find(Self::is_supported)
            .ok_or(ScratchError::NotInstalled { remedy: remedy() })
    }

    /// Every installation that can be found, the default one first: the system's, and those below `extra`, a
    /// directory with a subdirectory for each version (`extra/17/bin`).
    #[must_use]
    pub fn all(extra: Option<&Path>) -> Vec<Self> {
        let mut found: Vec<Self> = Self::default_one().into_iter().collect();
        let extra = extra.into_iter().flat_map(|parent| versions_in(parent, ""));
        for installation in system_directories()
            .chain(extra)
            .filter_map(|bin| Self::in_directory(&bin))
        {
            if !found.contains(&installation) {
                found.push(installation);
            }
        }
        found
    }

    /// The installation in a `bin` directory, if it holds `initdb` and a `postgres` that runs.
    #[must_use]
    pub fn in_directory(bin: &Path) -> Option<Self> {
        let bin = fs::canonicalize(bin).ok()?;
        if !bin.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let version = version_in(&String::from_utf8_lossy(&output.stdout))?;
        let major = version
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()?;
        Some(Self {
            bin,
            major,
            version,
        })
    }

    /// The directory of the programs.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The major version, such as 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The whole version, such as `15.18`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of a program, or an error if this installation is trimmed and has none.
    pub fn program(&self, name: &'static str) -> Result<PathBuf, ScratchError> {
        let path = self.bin.join(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(ScratchError::MissingProgram {
                program: name,
                directory: self.bin.clone(),
            })
        }
    }

    fn is_supported(&self) -> bool {
        self.major >= OLDEST_SUPPORTED_MAJOR
    }
}

/// `bin` directories that may hold a server, the likeliest first; looked for only as far as they are asked for.
fn system_directories() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path)
        .filter_map(|directory| real_home_of_postgres(&directory))
        .collect();
    let versioned = VERSIONED
        .iter()
        .flat_map(|(parent, prefix)| versions_in(Path::new(parent), prefix));
    on_path
        .into_iter()
        .chain(versioned)
        .chain([PathBuf::from("/usr/local/pgsql/bin")])
        .chain(std::iter::once_with(directory_by_pg_config).flatten())
}

/// A directory of PATH often holds only links to some of the programs; the others lie where the link points.
fn real_home_of_postgres(directory: &Path) -> Option<PathBuf> {
    let program = fs::canonicalize(directory.join("postgres")).ok()?;
    program.parent().map(Path::to_owned)
}

fn directory_by_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim())).filter(|path| path.is_absolute())
}

/// The program directories of the versions below `parent`, the newest first.
fn versions_in(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches(['@', '-']);
            // A name without a number (Homebrew's plain `postgresql`) is a link to the newest.
            let major = if version.is_empty() {
                u32::MAX
            } else {
                version.parse().ok()?
            };
            Some((major, entry.path()))
        })
        .collect();
    versions.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    // Alpine keeps the programs in the version's directory itself.
    versions
        .into_iter()
        .flat_map(|(_, path)| [path.join("bin"), path])
        .collect()
}

/// The version in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn version_in(output: &str) -> Option<String> {
    let rest = output.strip_prefix("postgres (PostgreSQL) ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// How to install the server on this system.
fn remedy() -> &'static str {
    if cfg!(target_os = "macos") {
        return "run: brew install postgresql@18";
    }
    remedy_for(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn remedy_for(os_release: &str) -> &'static str {
    let names: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let known = [
        ("debian", "run: sudo apt-get install postgresql"),
        ("fedora", "run: sudo dnf install postgresql-server"),
        ("alpine", "run: sudo apk add postgresql"),
        ("arch", "run: sudo pacman -S postgresql"),
        ("suse", "run: sudo zypper install postgresql-server"),
    ];
    known.iter().find(|(name, _)| names.contains(name)).map_or(
        "install your system's PostgreSQL server package",
        |(_, remedy)| remedy,
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;

    use super::{remedy_for, version_in, versions_in};

    #[test]
    fn versions_of_all_packagers_are_read() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(version_in(debian).as_deref(), Some("15.18"));
        assert_eq!(
            version_in("postgres (PostgreSQL) 19beta1\n").as_deref(),
            Some("19beta1")
        );
        assert_eq!(version_in("something else 15.1"), None);
    }

    #[test]
    fn the_newest_version_comes_first_by_number() {
        let parent = tempfile::tempdir().unwrap();
        for name in [
            "pgsql-9",
            "pgsql-18",
            "pgsql-15",
            "pgsql-latest",
            "other-19",
        ] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = versions_in(parent.path(), "pgsql-");
        let bins: Vec<_> = found.iter().filter(|path| path.ends_with("bin")).collect();
        let expected =
            ["pgsql-18/bin", "pgsql-15/bin", "pgsql-9/bin"].map(|name| parent.path().join(name));
        assert_eq!(bins, expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn each_system_is_told_its_own_command() {
        assert!(remedy_for("ID=ubuntu\nID_LIKE=debian\n").contains("apt-get install postgresql"));
        assert!(remedy_for("ID=debian\n").contains("apt-get"));
        assert!(remedy_for("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n").contains("dnf"));
        assert!(remedy_for("ID=alpine\n").contains("apk"));
        assert!(remedy_for("").contains("server package"));
    }
}
