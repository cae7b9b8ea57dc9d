//! The key that the gateway signs in at the archive with: OpenSSH's own format, Ed25519, ECDSA or RSA.
//!
//! RSA is signed by aws-lc-rs: the arithmetic of the SSH library's own is not constant-time (RUSTSEC-2023-0071).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding};
use num_bigint::BigUint;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::private::{KeypairData, RsaKeypair};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A private key, read and found fit.
pub struct Key {
    public: PublicKey,
    hand: Hand,
}

enum Hand {
    Own(Arc<PrivateKey>),
    Rsa(KeyPair),
}

/// Why a key cannot be used; the text names the cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// Not OpenSSH's own format.
    Format,
    /// Under a passphrase.
    Passphrase,
    /// A kind that is not signed with here.
    Kind,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => {
                "is no private key in OpenSSH's format; `ssh-keygen -p -f FILE` rewrites an older one"
            }
            Self::Passphrase => {
                "is under a passphrase, which nobody types here; `ssh-keygen -p -N '' -f FILE` takes it off"
            }
            Self::Kind => {
                "is of a kind that cannot be used; make one with `ssh-keygen -t ed25519 -N '' -f FILE`"
            }
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public.algorithm())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.public.key_data() == other.public.key_data()
    }
}

impl Key {
    /// Reads a key file's bytes.
    ///
    /// # Errors
    /// When the gateway could not sign in with it.
    pub fn read(file: &Secret) -> Result<Self, KeyFault> {
        let mut text = Zeroizing::new(file.expose().trim_ascii_end().to_vec());
        text.push(b'\n'); // the reader of secrets takes it off
        let key = PrivateKey::from_openssh(&*text).map_err(|_| KeyFault::Format)?;
        if key.is_encrypted() {
            return Err(KeyFault::Passphrase);
        }
        let public = PublicKey::from(key.public_key().key_data().clone());
        let hand = match key.key_data() {
            KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) => Hand::Own(Arc::new(key)),
            KeypairData::Rsa(pair) => Hand::Rsa(rsa(pair).ok_or(KeyFault::Kind)?),
            _ => return Err(KeyFault::Kind),
        };
        Ok(Self { public, hand })
    }

    /// The line for the server's `authorized_keys`.
    pub fn public_line(&self) -> String {
        self.public.to_openssh().unwrap_or_default()
    }

    /// As `ssh-keygen -l` tells it.
    pub fn fingerprint(&self) -> String {
        self.public.fingerprint(HashAlg::Sha256).to_string()
    }

    /// What an operator is told to add there; a line of the log has no room for the longer kinds.
    pub(super) fn line_to_add(&self) -> String {
        let line = self.public_line();
        match line.len() {
            ..=300 => format!("the line: {line}"),
            _ => format!("the line that `ssh-keygen -y -f KEY` prints for it ({})", self.fingerprint()),
        }
    }

    /// Signs in. Whether the server let us in.
    pub(super) async fn sign_in<H: Handler>(
        &self,
        server: &mut Handle<H>,
        user: &str,
    ) -> Result<bool, russh::Error> {
        let answer = match &self.hand {
            Hand::Own(key) => {
                server.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key.clone(), None)).await?
            }
            Hand::Rsa(pair) => {
                // A server that says nothing takes the newer one; one that takes SHA-1 alone is refused.
                let hash = match server.best_supported_rsa_hash().await? {
                    Some(None) => return Ok(false),
                    Some(hash) => hash,
                    None => Some(HashAlg::Sha512),
                };
                let mut signer = Signer(pair);
                let signed =
                    server.authenticate_publickey_with(user, self.public.clone(), hash, &mut signer).await;
                signed.map_err(|SignFault| russh::Error::SendError)?
            }
        };
        Ok(matches!(answer, AuthResult::Success))
    }
}

/// OpenSSH leaves out what can be computed.
fn rsa(pair: &RsaKeypair) -> Option<KeyPair> {
    let number = |bytes: Option<&[u8]>| bytes.map(|bytes| Zeroizing::new(bytes.to_vec()));
    let (public, private) = (pair.public(), pair.private());
    let (n, e) = (number(public.n().as_positive_bytes())?, number(public.e().as_positive_bytes())?);
    let (d, q_inv) = (number(private.d().as_positive_bytes())?, number(private.iqmp().as_positive_bytes())?);
    let (p, q) = (number(private.p().as_positive_bytes())?, number(private.q().as_positive_bytes())?);
    let of_d = |factor: &[u8]| {
        let factor = BigUint::from_bytes_be(factor);
        let below = (factor > BigUint::from(1_u8)).then(|| factor - BigUint::from(1_u8))?;
        Some(Zeroizing::new((BigUint::from_bytes_be(&d) % below).to_bytes_be()))
    };
    let (d_p, d_q) = (of_d(&p)?, of_d(&q)?);
    let public_key = PublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
    KeyPair::from_components(&KeyPairComponents {
        public_key,
        d: d.as_slice(),
        p: p.as_slice(),
        q: q.as_slice(),
        dP: d_p.as_slice(),
        dQ: d_q.as_slice(),
        qInv: q_inv.as_slice(),
    })
    .ok()
}

struct Signer<'k>(&'k KeyPair);

/// The connection broke off, or the library would not sign.
struct SignFault;

impl From<russh::SendError> for SignFault {
    fn from(_: russh::SendError) -> Self {
        Self
    }
}

impl russh::Signer for Signer<'_> {
    type Error = SignFault;

    /// What was to be signed, and behind it the signature as RFC 8332 writes it.
    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, SignFault> {
        let (name, padding): (&[u8], &'static dyn RsaEncoding) = match hash {
            Some(HashAlg::Sha256) => (b"rsa-sha2-256", &RSA_PKCS1_SHA256),
            _ => (b"rsa-sha2-512", &RSA_PKCS1_SHA512),
        };
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(padding, &SystemRandom::new(), &message, &mut signature).map_err(|_| SignFault)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
        let blob = [&length(name)[..], name, &length(&signature), &signature].concat();
        message.extend_from_slice(&length(&blob));
        message.extend_from_slice(&blob);
        Ok(message)
    }
}

/// A key file as ssh-keygen makes it, for tests.
#[cfg(test)]
pub fn specimen() -> String {
    use russh::keys::{Algorithm, key::safe_rng, ssh_key::LineEnding};
    PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)
        .unwrap()
        .to_openssh(LineEnding::LF)
        .unwrap()
        .to_string()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A key as ssh-keygen makes it.
    fn made(arguments: &[&str]) -> Secret {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-f", file.to_str().unwrap()]).args(arguments);
        assert!(command.status().expect("ssh-keygen (openssh-client) is needed").success());
        Secret::new(std::fs::read(file).unwrap().trim_ascii_end().to_vec())
    }

    #[test]
    fn keys_as_openssh_makes_them() {
        for (arguments, kind) in [
            (&["-t", "ed25519", "-N", ""][..], "ssh-ed25519 "),
            (&["-t", "ecdsa", "-N", ""], "ecdsa-sha2-nistp256 "),
            (&["-t", "ecdsa", "-b", "384", "-N", ""], "ecdsa-sha2-nistp384 "),
            (&["-t", "rsa", "-b", "2048", "-N", ""], "ssh-rsa "),
        ] {
            let key = Key::read(&made(arguments)).unwrap();
            assert!(key.public_line().starts_with(kind), "{arguments:?} {}", key.public_line());
            assert!(!format!("{key:?}").contains(&key.public_line()[kind.len()..]));
        }
        assert_eq!(
            Key::read(&made(&["-t", "ed25519", "-N", "secret words"])).err(),
            Some(KeyFault::Passphrase)
        );
        assert_eq!(Key::read(&made(&["-t", "rsa", "-m", "PEM", "-N", ""])).err(), Some(KeyFault::Format));
        assert_eq!(
            Key::read(&Secret::new(b"-----BEGIN OPENSSH PRIVATE KEY-----\n".to_vec())).err(),
            Some(KeyFault::Format)
        );
    }
}
