//! Ends the server and removes its directory when this process dies without having done so.
//!
//! A shell reads from a pipe whose other end only this process holds: when the process ends, however it does, the
//! shell sees the end of the pipe. Unlike the kernel's parent-death signal this exists on every Unix, does not depend
//! on the thread that started the server, and cleans the directory too.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::account::Account;

/// Reads the process ids of servers, an empty line for none; at the end of the pipe it ends the last one, at once and
/// with its children, and removes the directory. The wait is bounded, as nobody may be there to reap the server.
const SCRIPT: &str = r#"
server=
while read -r line; do server=$line; done
if [ -n "$server" ] && kill -s QUIT "$server" 2>/dev/null; then
    turns=0
    while [ "$turns" -lt 100 ] && kill -s 0 "$server" 2>/dev/null; do sleep 0.1; turns=$((turns + 1)); done
fi
rm -rf -- "$1"
"#;

/// The process that watches over a scratch directory; dropping it makes it clean up.
#[derive(Debug)]
pub(super) struct Guardian {
    shell: Child,
}

impl Guardian {
    /// Starts watching over `directory`, as the account that owns it.
    pub(super) fn watch(directory: &Path, account: &Account) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "mvrefreshd-scratch-guardian"])
            .arg(directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the terminal's reach: Ctrl-C is for the process watched, whose clean-up comes first.
            .process_group(0);
        account.apply(&mut command);
        Ok(Self {
            shell: command.spawn()?,
        })
    }

    /// Names the server to end, or none.
    pub(super) fn guard(&mut self, server: Option<u32>) -> io::Result<()> {
        let line = server.map_or_else(String::new, |pid| pid.to_string()) + "\n";
        self.shell
            .stdin
            .as_mut()
            .map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes()))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
