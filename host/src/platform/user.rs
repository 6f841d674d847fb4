//! Users of this machine: who we are, and which number a name has.

/// The user that this process acts as; none if the system does not tell (proc(5)).
#[must_use]
pub fn own_id() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // Real, effective, saved and file system's.
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The number of a user: itself, or what `/etc/passwd` says of the name (passwd(5)).
#[must_use]
pub fn id_of(user: &str) -> Option<u32> {
    let number = user.parse().ok();
    number.or_else(|| find(&std::fs::read_to_string("/etc/passwd").ok()?, user))
}

fn find(users: &str, name: &str) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = (fields.next() == Some(name)).then(|| fields.nth(1))??;
        id.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_number_of_its_line() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nroo:x:7:7::/:/bin/false\n";
        let of = |name: &str| find(users, name);
        assert_eq!((of("root"), of("roo"), of("broken"), of("ro")), (Some(0), Some(7), None, None));
        assert_eq!((id_of("4242"), id_of("no such user")), (Some(4242), None));
        assert!(own_id().is_some());
    }
}
