//! What the agent tells the probes in TLS libraries about the library they are in: a number given with each probe, since one
//! program serves all files.
//!
//! ```text
//! 63       48 47        32 31        16 15         0
//! +----------+------------+------------+-----------+
//! |  source  |  zero      |  second    |  first    |
//! +----------+------------+------------+-----------+
//! ```

/// Where the random number of the ClientHello lies in a library's session object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    /// Which library, a `SOURCE_` constant.
    pub source: u16,
    /// Offset in the object of the number, or of the pointer to what holds it; 0 where it is not known.
    pub first: u16,
    /// Offset in what the pointer leads to, plus 1; 0 where there is no pointer.
    pub second: u16,
}

impl Cookie {
    /// As one number.
    pub const fn pack(self) -> u64 {
        (self.source as u64) << 48 | (self.second as u64) << 16 | self.first as u64
    }

    /// From the number.
    pub const fn unpack(number: u64) -> Self {
        Self {
            source: (number >> 48) as u16,
            first: number as u16,
            second: (number >> 16) as u16,
        }
    }
}

/// rustls, as the first number of a probe: it reads from the connection. The second says nothing.
pub const RUSTLS_READ: u16 = 1;
/// It writes records to the connection. The second number is how far the part of the session it is given lies behind its state.
pub const RUSTLS_FLUSH: u16 = 2;
/// It is given plaintext. The second number says nothing.
pub const RUSTLS_GIVE: u16 = 3;
/// It is given a slice of plaintext and returns how much of it it has taken. The second number says nothing.
pub const RUSTLS_GIVE_SLICE: u16 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_survives() {
        let cookie = Cookie {
            source: 3,
            first: 0x160,
            second: u16::MAX,
        };
        assert_eq!(Cookie::unpack(cookie.pack()), cookie);
        assert_eq!(Cookie::unpack(0), Cookie::default());
    }
}
