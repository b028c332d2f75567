//! Who runs the command: under sudo the caller, not root.
use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// Who runs the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    caller: Option<Caller>,
}

/// The user that called sudo.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caller {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    name: OsString,
    home: OsString,
    shell: Option<OsString>,
    path: Option<OsString>,
}

/// Why it cannot be told who called.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A variable of sudo's is broken.
    #[error("the variable {variable} is {value:?}, no number: start clew through sudo again, or give --as-root")]
    Number {
        /// Which.
        variable: &'static str,
        /// Its value.
        value: OsString,
    },
    /// The user's groups cannot be found.
    #[error("failed to look up user {uid}, who called sudo; --as-root runs the command as root")]
    Lookup {
        /// The user.
        uid: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Identity {
    /// Whoever runs Clew.
    pub const fn unchanged() -> Self {
        Self { caller: None }
    }

    /// The caller of sudo, if Clew is root through it, by the variables sudo sets.
    ///
    /// # Errors
    /// [`IdentityError`] if it is there but cannot be understood: the command shall not be root by accident.
    pub fn of_caller() -> Result<Self, IdentityError> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(Self::unchanged());
        }
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, IdentityError> {
        let number = |name: &'static str| {
            variable(name)
                .map(|value| {
                    let number = value.to_str().and_then(|text| text.parse::<u32>().ok());
                    number.ok_or(IdentityError::Number { variable: name, value })
                })
                .transpose()
        };
        let Some(uid) = number("SUDO_UID")?.filter(|uid| *uid != 0) else {
            return Ok(Self::unchanged());
        };
        let failed = |errno: nix::errno::Errno| IdentityError::Lookup {
            uid,
            source: errno.into(),
        };
        let user = User::from_uid(Uid::from_raw(uid)).map_err(failed)?;
        let gid = match (number("SUDO_GID")?, &user) {
            (Some(gid), _) => gid,
            (None, Some(user)) => user.gid.as_raw(),
            (None, None) => uid,
        };
        let name = match (&user, variable("SUDO_USER")) {
            (Some(user), _) => OsString::from(&user.name),
            (None, Some(name)) => name,
            (None, None) => OsString::from(uid.to_string()),
        };
        let groups = match &user {
            Some(_) => groups(&name, gid).map_err(failed)?,
            // A user the host does not list is in no further groups.
            None => vec![gid],
        };
        Ok(Self {
            caller: Some(Caller {
                uid,
                gid,
                groups,
                home: user
                    .as_ref()
                    .map_or_else(|| OsString::from("/"), |user| user.dir.clone().into_os_string()),
                shell: user
                    .map(|user| user.shell.into_os_string())
                    .filter(|shell| !shell.is_empty()),
                name,
                path: path_before_sudo(Path::new("/proc"), std::os::unix::process::parent_id()),
            }),
        })
    }

    /// User and group that files made for the caller shall belong to.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.caller.as_ref().map(|caller| (caller.uid, caller.gid))
    }

    /// The caller's home, where it is not whoever runs Clew.
    pub fn home(&self) -> Option<OsString> {
        self.caller.as_ref().map(|caller| caller.home.clone())
    }

    /// User, group and all groups to become.
    pub(super) fn ids(&self) -> Option<(u32, u32, Vec<u32>)> {
        let caller = self.caller.as_ref()?;
        Some((caller.uid, caller.gid, caller.groups.clone()))
    }

    /// The command's environment, made of Clew's.
    pub(super) fn environ(&self, own: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
        let Some(caller) = &self.caller else {
            return own.collect();
        };
        let set: Vec<(&str, &OsString)> = [
            ("HOME", Some(&caller.home)),
            ("USER", Some(&caller.name)),
            ("LOGNAME", Some(&caller.name)),
            ("SHELL", caller.shell.as_ref()),
            ("PATH", caller.path.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        // The command is not under sudo, and root's mail is not its mail.
        let stale = |name: &OsString| name.as_bytes().starts_with(b"SUDO_") || name == "MAIL";
        own.filter(|(name, _)| !stale(name) && set.iter().all(|(known, _)| name != known))
            .chain(set.iter().map(|(name, value)| (OsString::from(name), (*value).clone())))
            .collect()
    }
}

fn groups(name: &OsString, gid: u32) -> nix::Result<Vec<u32>> {
    let name = CString::new(name.as_bytes()).map_err(|_| nix::errno::Errno::EINVAL)?;
    Ok(getgrouplist(&name, Gid::from_raw(gid))?
        .into_iter()
        .map(Gid::as_raw)
        .collect())
}

/// The PATH with which sudo was called. sudo replaces it for what it starts, but its own process, an ancestor of this one,
/// still has the environment it was called with.
fn path_before_sudo(proc: &Path, mut pid: u32) -> Option<OsString> {
    /// sudo may start a monitor between itself and the command.
    const MOST_ANCESTORS: usize = 3;
    for _ in 0..MOST_ANCESTORS {
        let folder = proc.join(pid.to_string());
        if fs::read(folder.join("comm")).is_ok_and(|comm| comm == b"sudo\n") {
            let environ = fs::read(folder.join("environ")).ok()?;
            return environ
                .split(|&byte| byte == 0)
                .find_map(|entry| entry.strip_prefix(b"PATH="))
                .filter(|path| !path.is_empty())
                .map(|path| OsString::from_vec(path.to_vec()));
        }
        let status = fs::read_to_string(folder.join("status")).ok()?;
        pid = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))?
            .trim()
            .parse()
            .ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(variables: &[(&str, &str)]) -> Result<Identity, IdentityError> {
        Identity::from_variables(|wanted| {
            variables
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn who_called() {
        let nobody =
            identity(&[("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("SUDO_USER", "nobody")]).expect("a user");
        assert_eq!(nobody.owner(), Some((65_534, 65_534)));
        let (_, _, groups) = nobody.ids().expect("numbers");
        assert!(groups.contains(&65_534) && !groups.contains(&0), "{groups:?}");
        // A number no host gives to a user.
        let unlisted = identity(&[("SUDO_UID", "4000000000"), ("SUDO_USER", "guest")]).expect("a user");
        assert_eq!(
            unlisted.ids(),
            Some((4_000_000_000, 4_000_000_000, vec![4_000_000_000]))
        );
        for none in [&[][..], &[("SUDO_UID", "0")]] {
            assert_eq!(identity(none).expect("nobody"), Identity::unchanged());
        }
        for (name, value) in [("SUDO_UID", "root"), ("SUDO_UID", "-1"), ("SUDO_UID", "")] {
            let error = identity(&[(name, value)]).expect_err(value).to_string();
            assert!(error.contains(name) && error.contains("--as-root"), "{error}");
        }
    }

    #[test]
    fn the_environment() {
        let text = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let own = [
            text("HOME", "/root"),
            text("PATH", "/sbin"),
            text("SUDO_UID", "7"),
            text("MAIL", "/var/mail/root"),
            text("LANG", "C"),
        ];
        let caller = Caller {
            uid: 7,
            gid: 7,
            groups: vec![7],
            name: "ann".into(),
            home: "/home/ann".into(),
            shell: Some("/bin/zsh".into()),
            path: Some("/home/ann/bin:/bin".into()),
        };
        let identity = Identity { caller: Some(caller) };
        let want = [
            text("LANG", "C"),
            text("HOME", "/home/ann"),
            text("USER", "ann"),
            text("LOGNAME", "ann"),
            text("SHELL", "/bin/zsh"),
            text("PATH", "/home/ann/bin:/bin"),
        ];
        assert_eq!(identity.environ(own.clone().into_iter()), want);
        assert_eq!(Identity::unchanged().environ(own.clone().into_iter()), own);
    }

    #[test]
    fn the_path_before_sudo() {
        let root = tempfile::tempdir().expect("a folder");
        let process = |pid: &str, comm: &str, parent: &str, environ: &str| {
            let folder = root.path().join(pid);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("comm"), format!("{comm}\n")).expect("a file");
            fs::write(folder.join("status"), format!("Name:\tx\nPPid:\t{parent}\n")).expect("a file");
            fs::write(folder.join("environ"), environ).expect("a file");
        };
        process("10", "sudo", "9", "A=b\0PATH=/home/ann/bin:/bin\0");
        process("11", "sudo-monitor", "10", "PATH=/sbin\0");
        process("20", "bash", "21", "PATH=/bin\0");
        process("21", "login", "1", "PATH=/bin\0");
        process("30", "sudo", "9", "PATH=\0");
        for (pid, want) in [
            (10, Some("/home/ann/bin:/bin")),
            (11, Some("/home/ann/bin:/bin")),
            (20, None),
            (30, None),
            (99, None),
        ] {
            assert_eq!(path_before_sudo(root.path(), pid), want.map(OsString::from), "{pid}");
        }
    }
}
