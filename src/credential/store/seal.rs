//! The key of a store, and sealing with it.
//!
//! A sealed value is `nonce (12 bytes) ciphertext tag (16 bytes)` of AES-256-GCM-SIV (RFC 8452), whose
//! random nonces may be drawn as often as a store of 100,000 subjects ever will. It is bound to a
//! *context* (which store, table, credential, subject, format): moved elsewhere, it does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::secret::{Secret, SecretBuffer};

/// The length of a store's key in bytes.
pub const KEY_LENGTH: usize = 32;

/// What a sealed value is longer than what is in it.
pub const SEAL_LENGTH: usize = NONCE_LEN + 16;

/// Tells keys apart without telling them: 8 bytes that follow from the key, one way.
pub type KeyId = [u8; 8];

/// What a key is used for; each use has a key of its own, which follows from the one that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The file of a store.
    File,
    /// An export.
    Archive,
}

/// A key that seals.
pub struct StoreKey {
    sealing: LessSafeKey,
    id: KeyId,
}

/// Why a text is not the key of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAKey;

impl fmt::Display for NotAKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("it should be 32 bytes in hexadecimal or base64 (`bearerd store key` makes one)")
    }
}

impl std::error::Error for NotAKey {}

/// A sealed value that does not open: another key, another context, or not what was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealable;

impl StoreKey {
    /// Reads a key: 64 hexadecimal digits, or base64 in either alphabet, padded or not.
    pub fn new(text: &Secret, purpose: Purpose) -> Result<Self, NotAKey> {
        let material = material(text.expose().trim_ascii()).ok_or(NotAKey)?;
        let salt = Salt::new(HKDF_SHA256, b"bearerd store");
        let (sealing, naming) = match purpose {
            Purpose::File => (b"file sealing".as_slice(), b"file key id".as_slice()),
            Purpose::Archive => (b"archive sealing".as_slice(), b"archive key id".as_slice()),
        };
        let derived = salt.extract(material.as_slice());
        let derive = |label: &[u8], out: &mut [u8]| {
            let length = Length(out.len());
            derived.expand(&[label], length).and_then(|key| key.fill(out)).map_err(|_| NotAKey)
        };
        let (mut key, mut id) = (Zeroizing::new([0; KEY_LENGTH]), KeyId::default());
        derive(sealing, key.as_mut_slice())?;
        derive(naming, &mut id)?;
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, key.as_slice()).map_err(|_| NotAKey)?;
        Ok(Self { sealing: LessSafeKey::new(unbound), id })
    }

    /// A new random key, in hexadecimal.
    pub fn generate(clock: &Clock) -> Secret {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut material = Zeroizing::new([0; KEY_LENGTH]);
        clock.fill_random(material.as_mut_slice());
        let mut text = SecretBuffer::with_capacity(2 * KEY_LENGTH);
        for byte in material.iter() {
            text.push(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        text.into()
    }

    /// Tells this key from others.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Seals a value into its context. What is longer than it may get (64 GiB) does not get here.
    pub fn seal(&self, context: &[u8], plain: &[u8], clock: &Clock) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        clock.fill_random(&mut nonce);
        // All of it at once, so that nothing unsealed is left behind by growing.
        let mut sealed = Vec::with_capacity(plain.len() + SEAL_LENGTH);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = &mut sealed[NONCE_LEN..];
        let tag = self
            .sealing
            .seal_in_place_separate_tag(nonce, Aad::from(context), body)
            .expect("a value of less than 64 GiB can be sealed");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was sealed into the same context, into a buffer that is wiped.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unsealable)?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened = self.sealing.open_in_place(nonce, Aad::from(context), &mut body);
        let length = opened.map_err(|_| Unsealable)?.len();
        body.truncate(length);
        Ok(body)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StoreKey([redacted])")
    }
}

/// How many bytes to derive.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The bytes that a text stands for, if they are as many as a key has.
fn material(text: &[u8]) -> Option<Zeroizing<[u8; KEY_LENGTH]>> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    if text.len() == 2 * KEY_LENGTH {
        for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? * 16 + low?).ok()?;
        }
        return Some(key);
    }
    let decode = |alphabet: &Alphabet| {
        let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        // Room for one byte more, so that what is longer is seen.
        let mut bytes = Zeroizing::new([0; KEY_LENGTH + 4]);
        let length = GeneralPurpose::new(alphabet, padding).decode_slice(text, bytes.as_mut_slice()).ok()?;
        (length == KEY_LENGTH).then_some(bytes)
    };
    let bytes = decode(&STANDARD).or_else(|| decode(&URL_SAFE))?;
    key.copy_from_slice(&bytes[..KEY_LENGTH]);
    Some(key)
}
