//! The fingerprint of RSA keys that a flawed chip library made (CVE-2017-15361, "ROCA"), whose factors can be found.
//!
//! Each of its primes is `k * M + (65537^a mod M)`, where `M` is the product of the first primes. So modulo each of these,
//! the key's modulus is a power of 65537. Of other moduli about one in 240 million looks like that.

/// The odd primes that are in `M` for keys of every size.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether `modulus`, in big-endian bytes, has the fingerprint.
pub(super) fn is_roca(modulus: &[u8]) -> bool {
    PRIMES.into_iter().all(|prime| is_power_of_65537(residue(modulus, prime), prime))
}

fn residue(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0, |residue, byte| (residue << 8 | u32::from(*byte)) % prime)
}

fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == residue {
            return true;
        }
        power = power * 65537 % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand;

    use super::*;

    /// Big-endian, as all numbers here.
    fn times(number: &[u8], factor: u32) -> Vec<u8> {
        let mut product = vec![0; 4];
        product.extend(number);
        let mut carry = 0;
        for byte in product.iter_mut().rev() {
            carry += u64::from(*byte) * u64::from(factor);
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        product
    }

    fn plus(number: &[u8], other: &[u8]) -> Vec<u8> {
        let mut sum = vec![0; 1 + number.len().max(other.len())];
        let mut carry = 0;
        for (index, byte) in sum.iter_mut().rev().enumerate() {
            let digit = |number: &[u8]| number.iter().rev().nth(index).copied().map_or(0, u16::from);
            carry += digit(number) + digit(other);
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        sum
    }

    /// The fingerprint is one of residues modulo the divisors of M: more multiples of M change nothing.
    #[test]
    fn powers_of_65537_have_it_with_any_multiple_of_m_added_and_lose_it_with_one_added() {
        let m = PRIMES.iter().fold(vec![1], |product, prime| times(&product, *prime));
        let mut power = vec![1];
        for exponent in 0..300 {
            assert!(is_roca(&power), "65537^{exponent}");
            assert!(is_roca(&plus(&power, &times(&m, 0xdead_beef))), "65537^{exponent} + k * M");
            assert!(!is_roca(&plus(&power, &[1])), "65537^{exponent} + 1");
            power = times(&power, 65537);
        }
    }

    #[test]
    fn numbers_at_random_do_not_have_it() {
        let mut modulus = [0; 256];
        for _ in 0..2_000 {
            rand::fill(&mut modulus).expect("random");
            modulus[255] |= 1;
            assert!(!is_roca(&modulus), "{modulus:02x?}");
        }
    }
}
