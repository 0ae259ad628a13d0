//! Records of the store: any bytes are a record, with one encoding, or an error.

use bearerd::credential::store::encoding::{decode, encode};

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(record) = decode(bytes) {
        assert_eq!(encode(&record).expose(), bytes, "one encoding");
        assert!(decode(&[bytes, b"\0"].concat()).is_err(), "nothing may follow");
    }
}
