use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::net::IpAddr;

use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;

/// How long a nonce is good for, seconds. Shorter: who is far away, or tries passwords one by one, is not caught. Longer:
/// who has read one by chance has longer to use it.
pub(super) const LIFE: u32 = 30;
/// Characters of a nonce: when it was made and a keyed hash, in hexadecimal digits.
pub(super) const LENGTH: usize = 8 + 32;

/// Makes nonces and knows them again, without a memory: each has in it when it was made, and a hash of that and of whom
/// it was made for, with a key that nobody else has.
#[derive(Debug)]
pub(super) struct Nonces {
    key: [u8; 16],
}

impl Nonces {
    /// With a key of its own.
    pub(super) fn new() -> io::Result<Self> {
        let mut key = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Self { key })
    }

    /// The nonce of `source` at `second`.
    pub(super) fn make(&self, source: IpAddr, second: u32) -> String {
        format!("{second:08x}{:032x}", self.hash(source, second))
    }

    /// Was it made for `source`, in the last [`LIFE`] seconds before `second`?
    pub(super) fn is_good(&self, nonce: &[u8], source: IpAddr, second: u32) -> bool {
        let Some(made) = nonce.get(..8).and_then(|digits| std::str::from_utf8(digits).ok()) else { return false };
        let Ok(made) = u32::from_str_radix(made, 16) else { return false };
        let is_fresh = second.checked_sub(made).is_some_and(|age| age <= LIFE);
        is_fresh & bool::from(self.make(source, made).as_bytes().ct_eq(nonce))
    }

    /// A tag for the answer to what hashes to this.
    pub(super) fn tag(&self, of: &[u8]) -> String {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(of);
        format!("{:016x}", hasher.finish128().h1)
    }

    fn hash(&self, source: IpAddr, second: u32) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        let source = match source {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        hasher.write(b"nonce");
        hasher.write(&source.octets());
        hasher.write(&second.to_be_bytes());
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_good_for_whom_it_was_made_for_and_for_a_while() {
        let (nonces, others) = (Nonces::new().expect("random"), Nonces::new().expect("random"));
        let [own, other, six]: [IpAddr; 3] =
            ["203.0.113.7", "203.0.113.8", "2001:db8::7"].map(|ip| ip.parse().expect("an address"));
        let nonce = nonces.make(own, 1_000);
        assert_eq!(nonce.len(), LENGTH);
        let good = |nonce: &str, source, second| nonces.is_good(nonce.as_bytes(), source, second);
        assert!(good(&nonce, own, 1_000) && good(&nonce, own, 1_000 + LIFE));
        assert!(!good(&nonce, own, 1_001 + LIFE), "too old");
        assert!(!good(&nonce, own, 999), "of the future");
        assert!(!good(&nonce, other, 1_000) && !good(&nonce, six, 1_000), "another's");
        assert!(!good(&others.make(own, 1_000), own, 1_000), "another engine's");
        assert_ne!(nonce, nonces.make(own, 1_001));
        let six_nonce = nonces.make(six, 1_000);
        assert!(good(&six_nonce, six, 1_000) && !good(&six_nonce, own, 1_000));
        // the time alone does not make it younger
        let younger = format!("{:08x}{}", 1_020, &nonce[8..]);
        assert!(!good(&younger, own, 1_020));
        let long = format!("{nonce}0");
        let wrong = ["", "0", "zzzzzzzz", &nonce[..8], &nonce[..39], &long, &nonce.to_uppercase(), "+00003e8", "é"];
        for wrong in wrong.into_iter().filter(|wrong| *wrong != nonce) {
            assert!(!good(wrong, own, 1_000), "{wrong}");
        }
        assert!(!nonces.is_good(&[0xff; LENGTH], own, 1_000));
    }
}
