//! The tables of fields that both ends know (RFC 7541, section 2.3).

use std::collections::VecDeque;

use crate::http2::hpack::Malformed;

/// The size of the table that every side offers without being asked (`SETTINGS_HEADER_TABLE_SIZE`).
pub(super) const LARGEST: usize = 4096;

/// What an entry takes beside its bytes (section 4.1).
const OVERHEAD: usize = 32;

/// Appendix A; the first has the index 1.
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A field of the dynamic table.
#[derive(Debug)]
pub(super) struct Entry {
    text: Box<[u8]>,
    name: usize,
}

impl Entry {
    /// A copy of a field.
    pub(super) fn new(name: &[u8], value: &[u8]) -> Self {
        Self { text: [name, value].concat().into(), name: name.len() }
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// The fields that a decoder knows. Their bytes are wiped by nobody: a field that is secret is sent as
/// one that is never kept (section 7.1.3).
#[derive(Debug)]
pub(super) struct Table {
    /// The newest comes first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: LARGEST }
    }
}

impl Table {
    /// The field of an index.
    pub(super) fn get(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let at = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(at - STATIC.len()).ok_or(Malformed)?;
        Ok(entry.text.split_at(entry.name))
    }

    /// Adds a field; older ones leave for it. One that is larger than the table empties it.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.evict(self.most.saturating_sub(entry.size()));
        if entry.size() <= self.most {
            self.size += entry.size();
            self.entries.push_front(entry);
        }
    }

    /// Sets the size of the table.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(most);
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size();
        }
    }
}
