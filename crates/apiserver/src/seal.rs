//! Encryption of secrets at rest: AES-256-GCM, the key's name bound to each value so that sealed
//! values cannot be exchanged.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use store::{Key, Seal, SealError};

const NONCE: usize = 12;
/// First byte of every sealed value, so that other forms can follow.
const FORM: u8 = 1;

/// Seals with one key.
pub struct AesGcm {
    key: LessSafeKey,
    random: SystemRandom,
}

impl AesGcm {
    /// With this key.
    pub fn new(key: &[u8; 32]) -> Result<AesGcm, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| SealError("the key for secrets at rest cannot be used".to_owned()))?;
        Ok(AesGcm {
            key: LessSafeKey::new(key),
            random: SystemRandom::new(),
        })
    }
}

impl Seal for AesGcm {
    fn seal(&self, key: &Key, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; NONCE];
        self.random
            .fill(&mut nonce)
            .map_err(|_| SealError("no randomness".to_owned()))?;
        let mut sealed = Vec::with_capacity(1 + NONCE + plain.len() + 16);
        sealed.push(FORM);
        sealed.extend_from_slice(&nonce);
        let mut text = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key.as_str().as_bytes()),
                &mut text,
            )
            .map_err(|_| SealError(format!("seal {key}")))?;
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let refused = || {
            SealError(format!(
                "{key} cannot be decrypted with this encryption key"
            ))
        };
        let (form, rest) = sealed.split_first().ok_or_else(refused)?;
        if *form != FORM || rest.len() < NONCE {
            return Err(refused());
        }
        let (nonce, text) = rest.split_at(NONCE);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut text = text.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(key.as_str().as_bytes()), &mut text)
            .map_err(|_| refused())?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_under_the_same_name_opens() {
        let seal = AesGcm::new(&[7; 32]).unwrap();
        let key = Key::of("", "secrets", Some("a"), "b");
        let sealed = seal.seal(&key, b"hidden").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"hidden"));
        assert_eq!(seal.open(&key, &sealed).unwrap(), b"hidden");
        assert!(
            seal.open(&Key::of("", "secrets", Some("a"), "c"), &sealed)
                .is_err()
        );
        assert!(AesGcm::new(&[8; 32]).unwrap().open(&key, &sealed).is_err());
        assert!(seal.open(&key, b"").is_err());
    }
}
