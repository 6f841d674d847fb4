//! Programs of others out of their Debian packages, in a private tree that nothing else sees: the
//! packages are unpacked, not installed, and laid over `/usr` for the processes that need them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{output, try_run};

/// The peers, and what they need beyond a bare Debian.
const PACKAGES: [&str; 10] = [
    "kannel",
    "libmariadb3",
    "libpcre3",
    "libhiredis0.14",
    "libct4",
    "postfix",
    "libdb5.3",
    "libnsl2",
    "libsasl2-2",
    "libicu72",
];
const DOWNLOADED_WITHIN: Duration = Duration::from_secs(120);
/// Numbers of the users that Postfix wants, which exist in its namespace only.
pub(super) const POSTFIX_ID: u32 = 5001;
pub(super) const POSTDROP_ID: u32 = 5002;
/// Where what was unpacked is seen: `$0` is the tree, the rest is run.
const WITHIN: &str = r#"mount -t overlay overlay -o "lowerdir=$0/root/usr:/usr" /usr &&
mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@""#;

/// Where it is all unpacked.
#[derive(Clone, Debug)]
pub(super) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Downloads and unpacks the packages, once.
    pub(super) fn install(folder: &Path) -> Result<Self> {
        let root = Self { folder: folder.to_path_buf() };
        if !folder.join("complete").is_file() {
            root.unpack()?;
            fs::write(folder.join("complete"), PACKAGES.join("\n"))?;
        }
        let tried = output(&mut root.command("true", &[]))?;
        let why = String::from_utf8_lossy(&tried.stderr).into_owned();
        ensure!(
            tried.status.success(),
            "a mount namespace of its own is not allowed here (it takes root): {}",
            why.trim()
        );
        Ok(root)
    }

    /// The folder of everything.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that sees the packages.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", WITHIN]);
        command.arg(&self.folder).arg(program).args(arguments);
        command
    }

    fn unpack(&self) -> Result<()> {
        let packages = self.folder.join("packages");
        let root = self.folder.join("root");
        fs::create_dir_all(&packages)?;
        fs::create_dir_all(root.join("usr/lib"))?;
        let log = self.folder.join("install.log");
        let apt = |words: &[&str]| {
            println!("apt-get {}", words.join(" "));
            try_run(
                Command::new("apt-get").args(words).current_dir(&packages),
                DOWNLOADED_WITHIN,
                &log,
            )
        };
        let mut download = vec!["download"];
        download.extend(PACKAGES);
        // A stale list of packages may do; if not, downloading says so.
        let there = apt(&download)? || (apt(&["update"])? && apt(&download)?);
        ensure!(there, "the packages cannot be downloaded; see {}", log.display());
        for package in fs::read_dir(&packages)? {
            let path = package?.path();
            let unpacked = output(Command::new("dpkg").arg("-x").arg(&path).arg(&root))?;
            if !unpacked.status.success() {
                let why = String::from_utf8_lossy(&unpacked.stderr).into_owned();
                bail!("unpack {}: {}", path.display(), why.trim());
            }
        }
        // Some libraries are packed for a `/lib` that is no link to `/usr/lib`.
        let libraries = root.join("lib/.");
        if root.join("lib").is_dir() {
            let copied =
                output(Command::new("cp").arg("-a").arg(&libraries).arg(root.join("usr/lib/")))?;
            ensure!(copied.status.success(), "copy {}", libraries.display());
        }
        self.write_users()
    }

    /// The users that the installation of Postfix would have made.
    fn write_users(&self) -> Result<()> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
        let without = |text: &str| -> String {
            let others = text.lines().filter(|line| !line.starts_with("post"));
            others.map(|line| format!("{line}\n")).collect()
        };
        let users = without(&read("/etc/passwd")?);
        let user = format!("postfix:x:{POSTFIX_ID}:{POSTFIX_ID}::/nonexistent:/usr/sbin/nologin\n");
        fs::write(self.folder.join("passwd"), users + &user)?;
        let groups = without(&read("/etc/group")?);
        let group = format!("postfix:x:{POSTFIX_ID}:\npostdrop:x:{POSTDROP_ID}:\n");
        fs::write(self.folder.join("group"), groups + &group)?;
        Ok(())
    }
}
