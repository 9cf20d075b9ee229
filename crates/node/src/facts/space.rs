//! Free space on the file systems of the directories that are written to.

/// The free space in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// KiB in total; 0 if the file system does not count them.
    pub size: u64,
    /// KiB.
    pub free: u64,
    /// Inodes left; `None` if there is no such limit (btrfs), or if `df` does not report them.
    pub inodes: Option<u64>,
    /// The mount point.
    pub mount: String,
}

impl Space {
    /// A line of `df -k --output=size,avail,iavail,itotal,target`.
    pub(super) fn from_gnu(line: &str) -> Option<Self> {
        let (size, rest) = column(line)?;
        let (free, rest) = column(rest)?;
        let (inodes, rest) = column(rest)?;
        let (total, mount) = column(rest)?;
        // Without a limit the total is 0.
        let limited = total.parse().is_ok_and(|total: u64| total > 0);
        Some(Self {
            size: size.parse().ok()?,
            free: free.parse().ok()?,
            inodes: inodes.parse().ok().filter(|_| limited),
            mount: mount.to_owned(),
        })
    }

    /// A line of `df -Pk`: device, size, used, free, percent, mount point. The device may contain
    /// spaces.
    pub(super) fn from_posix(line: &str) -> Option<Self> {
        let (before, rest) = line.split_once("% ")?;
        let mut columns = before.split_whitespace().rev().skip(1);
        let (free, size) = (columns.next()?, columns.nth(1)?);
        Some(Self {
            size: size.parse().ok()?,
            free: free.parse().ok()?,
            inodes: None,
            mount: rest.trim_start().to_owned(),
        })
    }
}

/// The first word, and the rest after the spaces.
fn column(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.trim_start().split_once(' ')?;
    Some((word, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_df_are_read() {
        let gnu = Space::from_gnu("  90000 60000   123     4000 /var/my disk").unwrap();
        assert_eq!(
            (gnu.free, gnu.inodes, gnu.mount.as_str()),
            (60000, Some(123), "/var/my disk")
        );
        let btrfs = Space::from_gnu("90000 60000 0 0 /").unwrap();
        assert_eq!(btrfs.inodes, None);
        let vfat = Space::from_gnu("90000 60000 - - /boot").unwrap();
        assert_eq!((vfat.free, vfat.inodes), (60000, None));
        let posix = Space::from_posix("a disk   100 36 64 36% /etc/docker/tls").unwrap();
        assert_eq!(
            (posix.size, posix.free, posix.mount.as_str()),
            (100, 64, "/etc/docker/tls")
        );
        assert_eq!(Space::from_gnu("Avail"), None);
        assert_eq!(Space::from_posix("Filesystem 1024-blocks"), None);
    }
}
