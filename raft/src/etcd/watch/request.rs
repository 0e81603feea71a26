//! What a client asks for, checked as etcd checks it. Pure.

use bytes::Bytes;

use crate::{
    etcd::{
        proto::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
        requests::key_range,
    },
    types::Revision,
    watch::Wanted,
};

/// A watch to be created.
#[derive(Debug, PartialEq)]
pub(super) struct Creation {
    /// 0: the member chooses.
    pub(super) id: i64,
    pub(super) wanted: Wanted,
    /// The first revision; `None` begins with the next change.
    pub(super) from: Option<Revision>,
    pub(super) previous: bool,
    pub(super) progress: bool,
    pub(super) fragment: bool,
}

/// What etcd says of a range that ends before it begins.
pub(super) const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
/// What etcd says of an id that is taken.
pub(super) const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// Reads a request; an error is the reason to cancel what it asks for.
pub(super) fn creation(request: &WatchCreateRequest) -> Result<Creation, &'static str> {
    let key = match request.key.as_ref() {
        // The first key there is.
        [] => Bytes::from_static(&[0]),
        _ => request.key.clone(),
    };
    let range = key_range(key, request.range_end.clone());
    if range.end.as_ref().is_some_and(|end| *end <= range.start) {
        return Err(EMPTY_RANGE);
    }
    let filters: Vec<FilterType> = request.filters().collect();
    let from = match request.start_revision {
        0 => None,
        revision => Some(Revision(u64::try_from(revision).unwrap_or(0).max(1))),
    };
    Ok(Creation {
        id: request.watch_id,
        wanted: Wanted {
            range,
            puts: !filters.contains(&FilterType::Noput),
            deletes: !filters.contains(&FilterType::Nodelete),
        },
        from,
        previous: request.prev_kv,
        progress: request.progress_notify,
        fragment: request.fragment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::KeyRange;

    #[test]
    fn keys_and_ends_mean_what_they_mean_in_etcd() {
        let to = |end: &'static [u8]| Some(Bytes::from_static(end));
        type Case = (&'static str, &'static [u8], Result<KeyRange, &'static str>);
        let cases: [Case; 6] = [
            ("a", b"", Ok(KeyRange::key("a"))),
            ("", b"", Ok(KeyRange::key(&b"\0"[..]))),
            ("a", b"b", Ok(KeyRange { start: "a".into(), end: to(b"b") })),
            ("a", b"\0", Ok(KeyRange { start: "a".into(), end: None })),
            ("b", b"a", Err(EMPTY_RANGE)),
            ("b", b"b", Err(EMPTY_RANGE)),
        ];
        for (key, range_end, expected) in cases {
            let (key, range_end) = (Bytes::from(key), Bytes::from(range_end));
            let request = WatchCreateRequest { key, range_end, ..Default::default() };
            assert_eq!(creation(&request).map(|creation| creation.wanted.range), expected);
        }
    }
}
