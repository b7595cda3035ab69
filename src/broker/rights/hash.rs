//! Hashes of passwords: argon2id, as the PHC string `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
//!
//! New ones take 19 MiB of memory, two passes and one lane, as the OWASP Password Storage Cheat Sheet advises. Those that
//! come from elsewhere may take more, up to what RFC 9106 names for machines with little memory.

use std::fmt;

use argon2::password_hash::{PasswordHashString, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// What a new hash takes: KiB of memory, passes, lanes.
const NEW: (u32, u32, u32) = (19_456, 2, 1);
/// The most that is accepted, so that no hash can take the machine to itself.
const MOST: (u32, u32, u32) = (65_536, 4, 4);
/// The longest password that is hashed, in bytes.
pub const LONGEST_PASSWORD: usize = 1024;
/// The longest text that may be a hash.
const LONGEST: usize = 256;
/// Bytes of salt in a new hash.
const SALT: usize = 16;

/// The hash of a password. It is not printed, because it can be guessed at.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(PasswordHashString);

impl Hash {
    /// Reads a hash; the error says in words what is wrong with it, and nothing of what is in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const ADVICE: &str = "`wharf passwd` writes one";
        if text.starts_with("$6$") || text.starts_with("$7$") {
            return Err(format!("this is a hash of Mosquitto's, which cannot be used here; {ADVICE}"));
        }
        if text.len() > LONGEST || !text.starts_with("$argon2id$") {
            return Err(format!("this is not the hash of a password ($argon2id$…); {ADVICE}"));
        }
        let hash =
            PasswordHashString::new(text).map_err(|_| format!("this hash is incomplete or damaged; {ADVICE}"))?;
        let parsed = hash.password_hash();
        let params = Params::try_from(&parsed)
            .map_err(|_| format!("the parameters of this hash are not those of argon2; {ADVICE}"))?;
        if params.m_cost() > MOST.0 || params.t_cost() > MOST.1 || params.p_cost() > MOST.2 {
            let (memory, passes, lanes) = MOST;
            return Err(format!("this hash takes more than m={memory},t={passes},p={lanes} to look at; {ADVICE}"));
        }
        let known_version = parsed.version == Some(Version::V0x13.into());
        if parsed.salt.is_none() || parsed.hash.is_none_or(|hash| hash.len() < 16) || !known_version {
            return Err(format!("this hash is incomplete or of another version; {ADVICE}"));
        }
        Ok(Self(hash))
    }

    /// Hashes a password. Takes some 20 ms on a desktop and ten times that on a small board.
    ///
    /// # Errors
    /// A password that is empty or longer than 1024 bytes; a system without random numbers.
    pub fn new(password: &str) -> Result<Self, String> {
        Self::with(password, NEW)
    }

    fn with(password: &str, (memory, passes, lanes): (u32, u32, u32)) -> Result<Self, String> {
        if password.is_empty() {
            return Err("a password cannot be empty".into());
        }
        if password.len() > LONGEST_PASSWORD {
            return Err(format!("a password has {LONGEST_PASSWORD} bytes at most"));
        }
        let words = |error: &dyn fmt::Display| format!("the password cannot be hashed: {error}");
        let salt = SaltString::encode_b64(&random::<SALT>()?).map_err(|error| words(&error))?;
        let params = Params::new(memory, passes, lanes, None).map_err(|error| words(&error))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password(password.as_bytes(), &salt).map_err(|error| words(&error))?;
        Ok(Self(hash.serialize()))
    }

    /// Whether this is the password. Takes as long as making the hash did.
    pub fn is_of(&self, password: &[u8]) -> bool {
        password.len() <= LONGEST_PASSWORD
            && Argon2::default().verify_password(password, &self.0.password_hash()).is_ok()
    }

    /// Another one, which takes as long to look at and is nobody's.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn of_nobody(&self) -> Result<Self, String> {
        let params = Params::try_from(&self.0.password_hash()).map_err(|error| error.to_string())?;
        nobodys((params.m_cost(), params.t_cost(), params.p_cost()))
    }

    /// The hash as a text, for the one place that writes it down.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// Random bytes, of the same source as the keys of TLS.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| "the system gives no random numbers".to_owned())
}

/// What takes as long to look at as a new hash, and is nobody's.
///
/// # Errors
/// The system gives no random numbers.
pub fn nobody() -> Result<Hash, String> {
    nobodys(NEW)
}

fn nobodys((memory, passes, lanes): (u32, u32, u32)) -> Result<Hash, String> {
    let encode = |bytes: &[u8]| SaltString::encode_b64(bytes).map_err(|error| error.to_string());
    let (salt, output) = (encode(&random::<SALT>()?)?, encode(&random::<32>()?)?);
    Hash::parse(&format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A hash that costs next to nothing.
    pub fn cheap(password: &str) -> Hash {
        Hash::with(password, (8, 1, 1)).unwrap()
    }

    #[test]
    fn a_hash_is_of_its_password_alone_and_no_two_are_alike() {
        let hash = Hash::new("hunter2").unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        let read = Hash::parse(hash.expose()).unwrap();
        assert!(read.is_of(b"hunter2") && !read.is_of(b"hunter3") && !read.is_of(b""));
        assert_ne!(Hash::new("hunter2").unwrap(), hash);
        assert!(!nobody().unwrap().is_of(b"hunter2"));
    }

    #[test]
    fn a_hash_of_another_tool_is_read_if_it_does_not_take_too_much() {
        let told = |text: &str| Hash::parse(text).map(|_| ()).unwrap_err();
        let made = Hash::with("password", (256, 2, 2)).unwrap();
        assert!(Hash::parse(made.expose()).unwrap().is_of(b"password"));
        let with = |params: &str| made.expose().replace("m=256,t=2,p=2", params);
        assert!(Hash::parse(&with("m=65536,t=3,p=4")).is_ok());
        for params in ["m=65537,t=2,p=1", "m=256,t=5,p=2", "m=256,t=2,p=5", "m=4294967295,t=2,p=1"] {
            assert!(told(&with(params)).contains("takes more"), "{params}");
        }
        assert!(told("$7$101$c2FsdA==$aGFzaA==").contains("Mosquitto"));
        for text in ["", "hunter2", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", &"$argon2id$".repeat(30)] {
            assert!(told(text).contains("wharf passwd"), "{text}");
        }
        assert!(told(&made.expose().replace("v=19", "v=16")).contains("version"));
        assert!(told(&made.expose().replace("argon2id", "argon2i")).contains("argon2id"));
    }

    #[test]
    fn a_password_that_is_none_is_not_hashed() {
        assert!(Hash::new("").unwrap_err().contains("empty"));
        assert!(Hash::new(&"x".repeat(LONGEST_PASSWORD + 1)).unwrap_err().contains("1024"));
    }

    #[test]
    fn a_hash_is_not_printed() {
        assert_eq!(format!("{:?}", cheap("hunter2")), "•••");
    }
}
