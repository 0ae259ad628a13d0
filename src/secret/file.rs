//! Secrets in files.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::secret::SecretBuffer;

/// Reads a file of `limit` bytes at most, and tells about it. Blocks on the file system. The error says what
/// is wrong with which file.
pub fn read_file(path: &Path, limit: usize) -> Result<(SecretBuffer, Metadata), String> {
    let told = |what: &str| format!("the file {} {what}", path.display());
    let (mut file, about) = open_file(path).map_err(|what| told(&what))?;
    let bytes = SecretBuffer::read(&mut file, limit).map_err(|error| told(&unreadable(&error)))?;
    if bytes.len() > limit {
        return Err(told(&format!("is larger than {limit} bytes: is it the right one?")));
    }
    Ok((bytes, about))
}

/// Opens a regular file, straight or through links, and never waits for it. Blocks on the file system. The error says
/// what is wrong, in words that follow the file's name.
pub fn open_file(path: &Path) -> Result<(File, Metadata), String> {
    // To open a pipe is to wait for who writes to it: without this flag for ever, if nobody does.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| unreadable(&error))?;
    let about = file.metadata().map_err(|error| unreadable(&error))?;
    match what_else(&about) {
        Some(other) => Err(format!("is {other}, not a file")),
        None => Ok((file, about)),
    }
}

/// What something is if it is not a regular file, which alone can be read again whenever it is wanted.
pub fn what_else(about: &Metadata) -> Option<&'static str> {
    if about.is_file() {
        None
    } else if about.is_dir() {
        Some("a folder")
    } else {
        Some("a pipe, a socket or a device")
    }
}

/// What is wrong with a file that cannot be read, as the end of a sentence about it.
pub fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by the user that bearerd runs as".to_owned(),
        kind => format!("cannot be read: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::read_file;

    #[test]
    fn a_file_is_read_through_links_and_nothing_but_a_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        create_dir(place("..data")).expect("a folder");
        write(place("..data/secret"), "a secret").expect("a file");
        symlink("..data/secret", place("secret")).expect("a link");
        let (read, about) = read_file(&place("secret"), 8).expect("a file");
        assert_eq!((read.expose(), about.len()), (b"a secret".as_slice(), 8));

        mknodat(CWD, place("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        symlink("pipe", place("link")).expect("a link");
        symlink("circle", place("circle")).expect("a link");
        let socket = UnixListener::bind(place("socket")).expect("a socket");
        for (name, told) in [
            ("..data", "is a folder, not a file"),
            ("pipe", "is a pipe, a socket or a device, not a file"),
            ("link", "is a pipe, a socket or a device, not a file"),
            ("socket", "cannot be read: "),
            ("circle", "cannot be read: "),
            ("nothing", "does not exist"),
            ("secret/below", "cannot be read: "),
        ] {
            let error = read_file(&place(name), 100).err().expect(name);
            assert!(error.contains(told) && error.contains(name), "{error}");
        }
        drop(socket);
        let endless = read_file(Path::new("/dev/zero"), 100).err().expect("an error");
        assert!(endless.ends_with("not a file"), "{endless}");
        let large = read_file(&place("secret"), 7).err().expect("an error");
        assert!(large.contains("is larger than 7 bytes"), "{large}");
    }
}
