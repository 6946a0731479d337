//! Opening HDF5 files, and why one cannot be read.

use crate::error::{Error, Result};
use crate::files::LARGEST_DECODED_BYTES;
use hdf5_reader::error::Error as Hdf5Error;
use hdf5_reader::{ExternalLinkResolver, FilesystemExternalFileResolver, FilesystemExternalLinkResolver};
use hdf5_reader::{Hdf5File, OpenOptions, storage::FileStorage};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An opened file.
pub(crate) struct Opened {
    pub(crate) file: Hdf5File,
    length: u64,
    followed: Arc<AtomicU64>,
}

impl Opened {
    /// Bytes of the file and of those that its links have led to so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.length.saturating_add(self.followed.load(Ordering::Relaxed))
    }
}

/// Opens a file whose links lead to files in its folder.
pub(crate) fn open(path: &Path) -> Result<Opened> {
    let handle = std::fs::File::open(path).map_err(|e| Error::file(path, "reading", e))?;
    let length = handle.metadata().and_then(|meta| {
        if meta.is_dir() { Err(std::io::ErrorKind::IsADirectory.into()) } else { Ok(meta.len()) }
    });
    let length = length.map_err(|e| Error::file(path, "reading", e))?;
    let followed = Arc::new(AtomicU64::new(0));
    let options = options(path, followed.clone());
    let opened = FileStorage::from_file(handle)
        .and_then(|storage| Hdf5File::from_storage_with_options(Arc::new(storage), options));
    let file = opened.map_err(|e| refuse(path, "", &e))?;
    let whole = file.superblock().eof_address;
    if length < whole {
        let problem =
            format!("is damaged, or no HDF5 file (it is cut off: {length} of {whole} bytes are there)");
        return Err(Error::content(path, problem, "copy or download it again"));
    }
    Ok(Opened { file, length, followed })
}

/// Limits, and where the files are that `path` leads to, whose bytes are added to `followed`.
pub(crate) fn options(path: &Path, followed: Arc<AtomicU64>) -> OpenOptions {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    OpenOptions::default()
        .with_max_read_bytes(LARGEST_DECODED_BYTES as usize)
        .with_max_object_header_bytes(1 << 20)
        .with_max_chunk_bytes(LARGEST_CHUNK_BYTES)
        .with_external_file_resolver(Arc::new(FilesystemExternalFileResolver::new(folder)))
        .with_external_link_resolver(Arc::new(Links(FilesystemExternalLinkResolver::new(folder), followed)))
}

/// Chunks of images are smaller; HDF5 itself caches 1 MB.
const LARGEST_CHUNK_BYTES: usize = 1 << 30;

/// A link to a file that is not there is an error, and not nothing.
struct Links(FilesystemExternalLinkResolver, Arc<AtomicU64>);

impl ExternalLinkResolver for Links {
    fn resolve_external_link(&self, filename: &str) -> Result<Option<Hdf5File>, Hdf5Error> {
        match self.0.resolve_external_link(filename) {
            Ok(Some(file)) => {
                self.1.fetch_add(file.storage().len(), Ordering::Relaxed);
                Ok(Some(file))
            }
            Ok(None) => Err(Hdf5Error::Other(format!("{LINK} {filename}, which is not there"))),
            Err(e) => Err(Hdf5Error::Other(format!("{LINK} {filename}: {e}"))),
        }
    }
}

const LINK: &str = "an external link leads to";

/// One line about a file, or a part of it such as `dataset gt: `, that the library does not read.
pub(crate) fn refuse(path: &Path, place: &str, e: &Hdf5Error) -> Error {
    use Hdf5Error as E;
    let inner = innermost(e);
    let answer = inner.to_string().replace('\n', " ");
    let (problem, remedy) = match inner {
        E::UnsupportedFilter(said) => (
            format!("is compressed by {}, a filter of HDF5 that is not read", filter_name(said)),
            "rewrite it: h5repack -f GZIP=4 FILE NEW_FILE",
        ),
        E::UnsupportedLayoutClass(3) => (
            "holds a virtual dataset, which is not read".into(),
            "give the files that it is made of, or copy it into one",
        ),
        E::UnsupportedEncoding(_)
        | E::UnsupportedLayoutClass(_)
        | E::UnsupportedLayoutVersion(_)
        | E::UnsupportedDatatypeClass(_)
        | E::UnsupportedChunkIndexType(_)
        | E::UnsupportedLinkType(_)
        | E::UnsupportedSuperblockVersion(_) => (
            format!("uses a part of HDF5 that is not read ({answer})"),
            "rewrite it: h5repack -f GZIP=4 FILE NEW_FILE",
        ),
        E::ResourceLimit(_) => {
            (format!("is larger than what is read ({answer})"), "cut it into several files")
        }
        E::Other(said) if said.starts_with(LINK) => {
            (said.clone(), "put that file into the same folder, or copy the data into this one")
        }
        _ => (format!("is damaged, or no HDF5 file ({answer})"), "copy or download it again"),
    };
    Error::content(path, format!("{place}{problem}"), remedy)
}

fn innermost(e: &Hdf5Error) -> &Hdf5Error {
    match e {
        Hdf5Error::Context { source, .. } => innermost(source),
        other => other,
    }
}

/// The name of a filter that the library calls `filter id 32000`, by the register of The HDF Group.
fn filter_name(said: &str) -> String {
    let name = match said.rsplit(' ').next() {
        Some("4") => "SZIP",
        Some("5") => "n-bit",
        Some("6") => "scale-offset",
        Some("305" | "307") => "BZIP2",
        Some("32000") => "LZF",
        Some("32001") => "Blosc",
        Some("32004") => "LZ4",
        Some("32008") => "bitshuffle",
        Some("32013") => "ZFP",
        Some("32015") => "Zstandard",
        Some("32017" | "32024") => "SZ",
        Some("32026") => "Blosc2",
        _ => return said.to_owned(),
    };
    format!("{name} ({said})")
}
