//! A value that has its bytes within itself, and no pointer to them, leaves no copy where it was moved from.

use std::hint::black_box;

use halfbyte_secrets::testing::LeakTest;
use halfbyte_secrets::zeroize::Zeroize;
use halfbyte_secrets::{ExposeSecret as _, FromSecret, ParseError, Secrets};

struct Key([u8; 40]);

impl Zeroize for Key {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl FromSecret for Key {
    fn from_secret(bytes: &[u8]) -> Result<Self, ParseError> {
        bytes.try_into().map(Key).map_err(|_| ParseError::new("a key has 40 bytes"))
    }
}

/// What parsing leaves on the stack is what the documentation says; here it is about the rest.
#[inline(never)]
fn overwrite_the_stack() {
    black_box(&mut [0_u8; 1 << 18]);
}

#[test]
fn a_key_that_is_moved_to_its_place_leaves_no_copy_on_the_heap() {
    let leaks = LeakTest::new().run(async |secrets: Secrets| {
        let key = secrets.get::<Key>("key");
        key.ready().await.expect("loaded");
        assert_ne!(key.load().expect("loaded").expose_secret().0, [0; 40]);
        overwrite_the_stack();
    });
    assert!(leaks.is_empty(), "{leaks}");
}
