//! What the kernel says is mounted: `/proc/PID/mountinfo`, taken apart (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The mount's id.
    pub id: u32,
    /// The id of the mount that this one is on; its own id for the initial ramfs.
    pub parent: u32,
    /// Which part of the filesystem is mounted.
    pub root: PathBuf,
    /// Where.
    pub at: PathBuf,
    /// The filesystem's type.
    pub fs: String,
    /// Options of the mount itself (not of the superblock).
    pub options: String,
    /// Major and minor number of the device that the filesystem is on.
    pub device: (u32, u32),
    /// How mounts travel: `shared:7 master:2`; empty for a private one.
    pub travels: String,
    /// What was mounted, in the filesystem's own words.
    pub source: PathBuf,
    /// Options of the superblock.
    pub super_options: String,
}

/// Undoes the kernel's octal escapes for blank, tab, newline, backslash and hash.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| byte == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        if let Some(digits) = octal {
            let value = digits.iter().fold(0u32, |sum, d| sum * 8 + u32::from(d - b'0'));
            out.push(value as u8);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

fn line(text: &[u8]) -> Option<Mount> {
    let mut words = text.split(|b| *b == b' ');
    let number = |word: Option<&[u8]>| std::str::from_utf8(word?).ok()?.parse().ok();
    let (id, parent) = (number(words.next())?, number(words.next())?);
    let (device, root, at, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    // Optional fields ("shared:7") end with a lone dash; the type follows.
    let travels: Vec<_> = words.by_ref().take_while(|word| *word != b"-").map(String::from_utf8_lossy).collect();
    let fs = words.next()?;
    Some(Mount {
        id,
        parent,
        root: unescape(root),
        at: unescape(at),
        fs: String::from_utf8_lossy(fs).into_owned(),
        options: String::from_utf8_lossy(options).into_owned(),
        device: (major.parse().ok()?, minor.parse().ok()?),
        travels: travels.join(" "),
        source: unescape(words.next().unwrap_or_default()),
        super_options: String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned(),
    })
}

/// Every line that can be understood; a line that cannot is left out.
pub fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo.split(|b| *b == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_real_machine() {
        let text = b"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
                     29 27 0:26 /sub /mnt/a\\040b rw,nosuid shared:7 master:2 - tmpfs tmp rw\n\
                     1 1 0:1 / / rw - rootfs rootfs rw\n\
                     garbage\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!((mounts[0].fs.as_str(), mounts[0].at.to_str()), ("ext4", Some("/")));
        assert_eq!(mounts[1].at, PathBuf::from("/mnt/a b"));
        assert_eq!(mounts[1].fs, "tmpfs");
        assert_eq!((mounts[1].travels.as_str(), mounts[1].device), ("shared:7 master:2", (0, 26)));
        assert_eq!((mounts[0].source.to_str(), mounts[0].super_options.as_str()), (Some("/dev/vda"), "rw,discard"));
        assert_eq!((mounts[2].travels.as_str(), mounts[2].super_options.as_str()), ("", "rw"));
        assert_eq!(mounts[2].id, mounts[2].parent);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let seed = b"27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\\040\\9";
        for cut in 0..seed.len() {
            parse(&seed[..cut]);
            parse(&seed[cut..]);
        }
        parse(&(0..=255u8).collect::<Vec<_>>());
    }
}
