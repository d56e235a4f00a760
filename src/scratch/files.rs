//! Copies of directories.

use std::fs;
use std::io;
use std::path::Path;

use super::account::Account;

/// Copies a directory of plain files and directories with their permissions; `to` must not exist. The copy belongs to
/// the account, if one is given.
pub(super) fn copy_directory(from: &Path, to: &Path, owner: Option<&Account>) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target, owner)?;
        } else {
            fs::copy(entry.path(), &target)?;
            if let Some(account) = owner {
                account.take(&target)?;
            }
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    owner.map_or(Ok(()), |account| account.take(to))
}
