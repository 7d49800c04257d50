use crate::class::DIGIT;
use crate::reader::{Reader, decimal};
use crate::{NameAddr, key};

const EXPIRES: u128 = key::of(b"expires");
const Q: u128 = key::of(b"q");

/// One value of `Contact` (RFC 3261 §20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`: all bindings, in a REGISTER that removes them (§10.2.2).
    Star,
    /// Where someone can be reached.
    Address {
        /// The address with all its parameters.
        address: NameAddr<'a>,
        /// `expires`: for how long, in seconds. `None` if it is not there or beyond 2³²-1.
        expires: Option<u32>,
    },
}

impl<'a> Contact<'a> {
    /// Reads the value that comes next.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        if reader.eat(b'*') {
            reader.skip_lws();
            return reader.is_at_end().then_some(Self::Star); // no member of a list
        }
        let address = NameAddr::read(reader)?;
        let mut expires = None;
        let mut is_strict = true;
        for param in address.params {
            match key::lower(key::of(param.name)) {
                EXPIRES => {
                    expires = param.value.and_then(decimal);
                    is_strict &= expires.is_some() && !param.is_quoted;
                }
                Q => is_strict &= param.value.is_some_and(is_qvalue) && !param.is_quoted,
                _ => {}
            }
        }
        (!reader.is_strict() || is_strict).then_some(Self::Address { address, expires })
    }
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )` (§25.1)
pub(crate) fn is_qvalue(text: &[u8]) -> bool {
    match text {
        [b'0' | b'1'] => true,
        [b'0', b'.', digits @ ..] => digits.len() <= 3 && digits.iter().all(|&byte| DIGIT.has(byte)),
        [b'1', b'.', digits @ ..] => digits.len() <= 3 && digits.iter().all(|&byte| byte == b'0'),
        _ => false,
    }
}
