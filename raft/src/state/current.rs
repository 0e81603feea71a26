//! `CURRENT`: which of the state's folders is in use. A wrong name would be an empty state, so it
//! carries a checksum.

use std::{fs, io, path::Path};

use crate::{
    disk::damage,
    failpoints::{Step, pass},
};

const CURRENT: &str = "CURRENT";

/// The first folder of a state.
pub(crate) const FIRST: &str = "000001";

/// The folder in use below `root`; `None` if there never was one.
pub(crate) fn read(root: &Path) -> io::Result<Option<String>> {
    let path = root.join(CURRENT);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let used = fs::read_dir(root).into_iter().flatten().flatten();
            return match used.map(|entry| entry.path()).find(|path| path.is_dir()) {
                None => Ok(None),
                Some(state) => Err(damage::found(format!(
                    "{} is missing, beside {}",
                    path.display(),
                    state.display()
                ))),
            };
        }
        Err(error) => return Err(error),
    };
    let name = text.split(' ').next().unwrap_or_default();
    if render(name) != text {
        return Err(damage::found(format!("{} at offset 0: {text:?}", path.display())));
    }
    Ok(Some(name.to_owned()))
}

/// Points to a folder, durably and at once.
pub(crate) fn write(root: &Path, name: &str) -> io::Result<()> {
    let fresh = root.join("CURRENT.new");
    fs::write(&fresh, render(name))?;
    fs::File::open(&fresh)?.sync_all()?;
    pass(Step::CurrentWritten)?;
    fs::rename(&fresh, root.join(CURRENT))?;
    fs::File::open(root)?.sync_all()?;
    pass(Step::CurrentSwapped)
}

fn render(name: &str) -> String {
    format!("{name} {:08x}\n", crc32fast::hash(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_wrote_is_refused() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()).unwrap(), None);
        write(root.path(), "000007").unwrap();
        assert_eq!(read(root.path()).unwrap().as_deref(), Some("000007"));
        let path = root.path().join(CURRENT);
        for text in ["", "000007", "000005 1c291ca3\n", "\u{1}"] {
            fs::write(&path, text).unwrap();
            let error = read(root.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
            assert!(error.to_string().contains("CURRENT at offset 0"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(root.path().join("000007")).unwrap();
        assert!(read(root.path()).unwrap_err().to_string().contains("is missing, beside"));
    }
}
