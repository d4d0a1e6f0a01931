//! One-time tokens: a URL handed out over CRI opens exactly one stream, and only for a while.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::v1;

/// How long a URL waits to be used.
const LIFETIME: Duration = Duration::from_secs(60);
/// URLs waiting at once; when there are more the caller has to come back.
const MOST: usize = 1000;

/// What a token stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Granted {
    /// A command.
    Exec(v1::ExecRequest),
    /// A container's own streams.
    Attach(v1::AttachRequest),
    /// Ports of a sandbox.
    PortForward(v1::PortForwardRequest),
}

/// Tokens not used yet.
#[derive(Debug, Default)]
pub struct Tokens {
    waiting: Mutex<HashMap<String, (Instant, Granted)>>,
}

impl Tokens {
    /// A new token; none when too many are waiting.
    pub fn grant(&self, what: Granted) -> Option<String> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, (at, _)| at.elapsed() < LIFETIME);
        if waiting.len() >= MOST {
            return None;
        }
        let token = new_token()?;
        waiting.insert(token.clone(), (Instant::now(), what));
        Some(token)
    }

    /// What a token stands for; it is spent by asking.
    pub fn take(&self, token: &str) -> Option<Granted> {
        let (at, what) = self.waiting.lock().remove(token)?;
        (at.elapsed() < LIFETIME).then_some(what)
    }
}

/// 160 random bits as hexadecimal digits.
fn new_token() -> Option<String> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0_u8; 20];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_once() {
        let tokens = Tokens::default();
        let what = Granted::Attach(v1::AttachRequest::default());
        let token = tokens.grant(what.clone()).unwrap();
        assert_eq!(token.len(), 40);
        assert_ne!(tokens.grant(what.clone()).unwrap(), token);
        assert_eq!(tokens.take(&token), Some(what));
        assert_eq!(tokens.take(&token), None);
    }

    #[test]
    fn tokens_waiting_are_bounded() {
        let tokens = Tokens::default();
        let what = || Granted::PortForward(v1::PortForwardRequest::default());
        assert!((0..MOST).all(|_| tokens.grant(what()).is_some()));
        assert!(tokens.grant(what()).is_none());
    }
}
