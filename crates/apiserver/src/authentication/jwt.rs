//! JSON Web Tokens signed with ES256: no more of the standard than ServiceAccount tokens need.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

/// Why a token is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three base64 parts of JSON.
    #[error("the token is malformed")]
    Malformed,
    /// Another algorithm or key.
    #[error("the token is not signed by this cluster")]
    Foreign,
    /// The key cannot sign.
    #[error("the signing key cannot be used: {0}")]
    Key(String),
}

/// The longest token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// Signs and verifies with one key.
pub struct Signer {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
    key_id: String,
    header: String,
    random: SystemRandom,
}

impl Signer {
    /// A signer with this PKCS #8 P-256 key.
    pub fn new(pkcs8: &[u8]) -> Result<Signer, JwtError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|e| JwtError::Key(e.to_string()))?;
        let public = pair.public_key().as_ref().to_vec();
        let digest = ring::digest::digest(&ring::digest::SHA256, &public);
        let key_id = URL_SAFE_NO_PAD.encode(digest.as_ref());
        let header = URL_SAFE_NO_PAD
            .encode(json!({"alg": "ES256", "kid": key_id, "typ": "JWT"}).to_string());
        Ok(Signer {
            pair,
            public,
            key_id,
            header,
            random,
        })
    }

    /// A token that says `claims`.
    pub fn sign(&self, claims: &Value) -> Result<String, JwtError> {
        let mut token = format!(
            "{}.{}",
            self.header,
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self
            .pair
            .sign(&self.random, token.as_bytes())
            .map_err(|_| JwtError::Key("no randomness".to_owned()))?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature.as_ref()));
        Ok(token)
    }

    /// What a token of ours says. Times and audiences are for the caller to judge.
    pub fn verify(&self, token: &str) -> Result<Value, JwtError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        if header != self.header {
            let header: Value = decode(header)?;
            if header["alg"] != "ES256" || header["kid"].as_str().is_some_and(|k| k != self.key_id)
            {
                return Err(JwtError::Foreign);
            }
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| JwtError::Malformed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| JwtError::Foreign)?;
        decode(payload)
    }

    /// The public key as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let (x, y) = (self.public.get(1..33), self.public.get(33..65));
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x.unwrap_or_default()),
            "y": URL_SAFE_NO_PAD.encode(y.unwrap_or_default()),
        }]})
    }
}

fn decode(part: &str) -> Result<Value, JwtError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        let key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Signer::new(key.unwrap().as_ref()).unwrap()
    }

    #[test]
    fn only_what_was_signed_is_believed() {
        let (ours, other) = (signer(), signer());
        let claims = json!({"sub": "system:serviceaccount:a:b"});
        let token = ours.sign(&claims).unwrap();
        assert_eq!(ours.verify(&token), Ok(claims));
        assert_eq!(other.verify(&token), Err(JwtError::Foreign));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"sub":"system:admin"}"#);
        assert_eq!(
            ours.verify(&format!("{header}.{forged}.{signature}")),
            Err(JwtError::Foreign)
        );
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(
            ours.verify(&format!("{none}.{forged}.")),
            Err(JwtError::Foreign)
        );
        assert_eq!(ours.verify("x"), Err(JwtError::Malformed));
    }
}
