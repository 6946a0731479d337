//! The directories of a TIFF file, and what is rewritten in them before the library decodes.
//!
//! `tiff` 0.11 interprets samples while it decodes, and some wrongly: floats where white is 0 become `1 - v`, and samples that
//! follow those of colour are dropped before a predictor is undone that reaches across them (`docs/decisions/014-files-of-other-people.md`). Where every page
//! says that it is grey, with black 0 and nothing but samples of one kind, it hands all of them over as they are stored. It also
//! takes memory for as many values of a tag as are announced.

use std::collections::{BTreeMap, BTreeSet};

/// Tags (TIFF 6.0) that are read or rewritten here.
const PHOTOMETRIC: u16 = 262;
const EXTRA_SAMPLES: u16 = 338;
/// A private tag that nobody reads.
const NOBODYS: u16 = 65_321;

/// Tags of rows and strips.
pub(super) const IMAGE_LENGTH: u16 = 257;
pub(super) const STRIP_OFFSETS: u16 = 273;
pub(super) const ROWS_PER_STRIP: u16 = 278;
pub(super) const STRIP_BYTE_COUNTS: u16 = 279;

/// What a directory said before it was rewritten.
pub(super) struct Page {
    /// The photometric interpretation, if it is there as one number.
    pub(super) photometric: Option<u16>,
    /// Whether the first sample that follows those of grey or colour is an alpha channel.
    pub(super) alpha: bool,
    /// Where the entry of every tag begins.
    entries: BTreeMap<u16, usize>,
}

/// How numbers are laid out in the file.
#[derive(Clone, Copy)]
struct Layout {
    little: bool,
    big_tiff: bool,
}

const BYTE: u64 = 1;
const SHORT: u64 = 3;
const LONG: u64 = 4;

impl Layout {
    fn of(bytes: &[u8]) -> Option<Self> {
        let little = bytes.first()? == &b'I';
        let layout = Self { little, big_tiff: false };
        Some(Self { big_tiff: layout.read(bytes, 2, 2)? == 43, ..layout })
    }

    fn read(self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let number = bytes.get(at..at.checked_add(size)?)?;
        let fold = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        Some(if self.little { number.iter().rev().fold(0, fold) } else { number.iter().fold(0, fold) })
    }

    fn write(self, bytes: &mut [u8], at: usize, size: usize, number: u64) {
        if let Some(place) = bytes.get_mut(at..at + size) {
            let number = if self.little { number } else { number << (64 - 8 * size) };
            let number = if self.little { number.to_le_bytes() } else { number.to_be_bytes() };
            place.copy_from_slice(&number[..size]);
        }
    }

    /// Bytes of an entry, of its count and of its value.
    fn sizes(self) -> (usize, usize) {
        if self.big_tiff { (20, 8) } else { (12, 4) }
    }

    /// The first number of an entry that holds its numbers itself.
    fn number(self, bytes: &[u8], entry: usize) -> Option<u64> {
        let (_, word) = self.sizes();
        let (kind, count) = (self.read(bytes, entry + 2, 2)?, self.read(bytes, entry + 4, word)?);
        let size = match kind {
            BYTE => 1,
            SHORT => 2,
            LONG => 4,
            _ => return None,
        };
        let inside = count > 0 && count.checked_mul(size as u64)? <= word as u64;
        inside.then(|| self.read(bytes, entry + 4 + word, size))?
    }

    /// Whether the values of an entry are in the file. The library takes 32 bytes for each that it announces.
    fn is_whole(self, bytes: &[u8], entry: usize) -> bool {
        let (_, word) = self.sizes();
        let size = match self.read(bytes, entry + 2, 2) {
            Some(1 | 2 | 6 | 7) => 1,
            Some(3 | 8) => 2,
            Some(4 | 9 | 11 | 13) => 4,
            _ => 8,
        };
        let values = self.read(bytes, entry + 4, word).and_then(|count| count.checked_mul(size));
        let at = self.read(bytes, entry + 4 + word, word);
        match (values, at) {
            (Some(values), _) if values <= word as u64 => true,
            (Some(values), Some(at)) => at.checked_add(values).is_some_and(|end| end <= bytes.len() as u64),
            _ => false,
        }
    }

    /// Makes an entry one number of 32 bits.
    fn set(self, bytes: &mut [u8], entry: usize, number: u32) {
        let (_, word) = self.sizes();
        self.write(bytes, entry + 2, 2, LONG);
        self.write(bytes, entry + 4, word, 1);
        self.write(bytes, entry + 4 + word, word, 0);
        self.write(bytes, entry + 4 + word, 4, u64::from(number));
    }

    /// Directory at `at`, and where the next one is.
    fn directory(self, bytes: &[u8], at: usize) -> Option<(BTreeMap<u16, usize>, u64)> {
        let (size, word) = self.sizes();
        let head = if self.big_tiff { 8 } else { 2 };
        let number = usize::try_from(self.read(bytes, at, head)?).ok()?;
        let end = at.checked_add(head)?.checked_add(number.checked_mul(size)?)?;
        let next = self.read(bytes, end, word)?;
        let entries = (0..number).map(|k| at + head + k * size);
        let tagged = entries.filter_map(|entry| Some((self.read(bytes, entry, 2)? as u16, entry)));
        Some((tagged.collect(), next))
    }
}

/// The pages of a file, which afterwards all say that they are grey, with black 0 and no other samples; tags whose values are
/// not in the file are none. The chain of directories ends where it leads out of the file or back.
pub(super) fn rewrite(bytes: &mut [u8]) -> Vec<Page> {
    let mut pages = Vec::new();
    let Some(layout) = Layout::of(bytes) else { return pages };
    let first = if layout.big_tiff { layout.read(bytes, 8, 8) } else { layout.read(bytes, 4, 4) };
    let (mut next, mut seen) = (first.unwrap_or(0), BTreeSet::new());
    while next != 0 && seen.insert(next) {
        let at = usize::try_from(next).unwrap_or(usize::MAX);
        let Some((mut entries, after)) = layout.directory(bytes, at) else { break };
        entries.retain(|_, &mut entry| {
            let whole = layout.is_whole(bytes, entry);
            if !whole {
                layout.write(bytes, entry, 2, u64::from(NOBODYS));
            }
            whole
        });
        let number = |tag| entries.get(&tag).and_then(|&entry| layout.number(bytes, entry));
        let photometric = number(PHOTOMETRIC).and_then(|n| u16::try_from(n).ok());
        let alpha = matches!(number(EXTRA_SAMPLES), Some(1 | 2));
        if let Some(&entry) = entries.get(&PHOTOMETRIC).filter(|_| photometric.is_some()) {
            layout.set(bytes, entry, 1);
        }
        if let Some(&entry) = entries.get(&EXTRA_SAMPLES) {
            layout.write(bytes, entry, 2, u64::from(NOBODYS));
        }
        pages.push(Page { photometric, alpha, entries });
        next = after;
    }
    pages
}

/// Sets tags of a page to numbers; those that it does not have are left out.
pub(super) fn set(bytes: &mut [u8], page: &Page, numbers: &[(u16, u32)]) {
    let Some(layout) = Layout::of(bytes) else { return };
    for (tag, number) in numbers {
        if let Some(&entry) = page.entries.get(tag) {
            layout.set(bytes, entry, *number);
        }
    }
}
