//! `parse_object`: what it accepts, serde_json accepts and reads as the same.

#![no_main]

use halfbyte_identity::jose::parse_object;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(object) = parse_object(bytes) {
        let theirs: Value = serde_json::from_slice(bytes).expect("serde_json reads what we read");
        assert_eq!(Value::Object(object), theirs);
    }
});
