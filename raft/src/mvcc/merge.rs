//! Walking the present and the past of keys together, in order, without holding either.
//!
//! `current` and `history` are sorted alike, by key. A piece of `current` is read ahead, then
//! `history` up to where that piece ends, and both are handed out as one: memory stays that of a
//! piece, however long the range is.

use std::{borrow::Cow, io, ops::ControlFlow};

use super::{
    keys,
    view::{Space, View},
};
use crate::{error::Corrupt, types::KeyRange};

/// What is read ahead of `current`: so many keys, or so many bytes. Few keys in tests, so that
/// these see several pieces.
const PIECE_KEYS_MAX: usize = if cfg!(test) { 2 } else { 512 };
const PIECE_BYTES_MAX: usize = 1 << 20;

/// What is called for every version of a key, with the key and the stored version.
pub(super) type VisitVersion<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Corrupt> + 'a;

/// Visits all versions of all keys of a range: keys ascending, of each the newest first.
pub(super) fn versions(
    view: &impl View,
    range: &KeyRange,
    visit: &mut VisitVersion<'_>,
) -> io::Result<()> {
    let mut start = range.start.to_vec();
    loop {
        let (piece, next) = Piece::read(view, &start, range.end.as_deref())?;
        let end = next.as_deref().or(range.end.as_deref());
        if piece.visit(view, &start, end, visit)?.is_break() {
            return Ok(());
        }
        match next {
            Some(next) => start = next,
            None => return Ok(()),
        }
    }
}

/// A part of `current`.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`, and where its version does, behind it.
    entries: Vec<(usize, usize)>,
}

impl Piece {
    /// Reads one, and says with which key the next begins.
    fn read(
        view: &impl View,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> io::Result<(Piece, Option<Vec<u8>>)> {
        let mut piece = Piece::default();
        let mut next = None;
        view.walk(Space::Current, start, end, &mut |key, version| {
            if piece.entries.len() == PIECE_KEYS_MAX || piece.bytes.len() >= PIECE_BYTES_MAX {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            piece.bytes.extend_from_slice(key);
            let key_end = piece.bytes.len();
            piece.bytes.extend_from_slice(version);
            piece.entries.push((key_end, piece.bytes.len()));
            ControlFlow::Continue(())
        })?;
        Ok((piece, next))
    }

    fn entry(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let (key_end, end) = *self.entries.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.entries[before].1);
        Some((&self.bytes[start..key_end], &self.bytes[key_end..end]))
    }

    /// Visits this part, merged with its history.
    fn visit(
        &self,
        view: &impl View,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut VisitVersion<'_>,
    ) -> io::Result<ControlFlow<()>> {
        let mut ahead = 0;
        let mut flow = ControlFlow::Continue(());
        let mut problem = None;
        let (start, end) = (keys::history_bound(start), end.map(keys::history_bound));
        view.walk(Space::History, &start, end.as_deref(), &mut |at, version| {
            let mut step = || -> Result<ControlFlow<()>, Corrupt> {
                let key = history_key(at)?;
                // The newest version of a key is in `current`, if it exists.
                while let Some((current_key, current)) = self.entry(ahead)
                    && current_key <= key.as_ref()
                {
                    ahead += 1;
                    if visit(current_key, current)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                visit(&key, version)
            };
            flow = step().unwrap_or_else(|error| {
                problem = Some(error);
                ControlFlow::Break(())
            });
            flow
        })?;
        while let Some((key, version)) = self.entry(ahead)
            && flow.is_continue()
            && problem.is_none()
        {
            ahead += 1;
            flow = visit(key, version)?;
        }
        problem.map_or(Ok(flow), |error| Err(error.into()))
    }
}

/// The key that a history key is of; copied only if something in it is escaped.
fn history_key(at: &[u8]) -> Result<Cow<'_, [u8]>, Corrupt> {
    if let Some((escaped, [0, 1, ..])) = at.split_at_checked(at.len().wrapping_sub(10))
        && !escaped.contains(&0)
    {
        return Ok(Cow::Borrowed(escaped));
    }
    Ok(Cow::Owned(keys::parse_history(at)?.0.to_vec()))
}
