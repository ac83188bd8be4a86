//! The drivers of this build: the one that is named is used, and without a card each says so.

use waata::Error;
use waata::engine::Device;
use waata::engine::device::{DRIVERS, probe};

#[test]
fn a_driver_that_the_build_has_not_is_named() {
    let error = Device::open("other", 0).err().unwrap();
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(error.to_string().contains("other") && error.to_string().contains(DRIVERS[0]), "{error}");
    assert_eq!(DRIVERS.contains(&"cust"), cfg!(feature = "cust"));
}

#[test]
fn without_a_card_every_driver_says_what_is_missing() {
    if probe().usable {
        println!("skipped: this machine has a card");
        return;
    }
    for driver in DRIVERS {
        let error = Device::open(driver, 0).err().unwrap_or_else(|| panic!("{driver} found a device"));
        assert!(matches!(error, Error::Device { .. }), "{driver}: {error}");
        println!("{driver}: {error}");
    }
}
