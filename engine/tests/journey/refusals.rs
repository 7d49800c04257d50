//! `vosctl` refuses what cannot be meant, says why, and changes nothing.

use crate::site::{CALLER, SERVER4, SERVER6, Site};

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    let rules = || site.json(&["list"]);
    let empty = rules();
    let (own4, own6) = (SERVER4.to_string(), SERVER6.to_string());
    let refused = [
        ("999.1.1.1", 2, "999"),
        ("010.1.1.1", 2, "octal"),
        ("1.2.3.x", 2, "1.2.3.x"),
        ("10.0.0.1/33", 2, "/33"),
        ("10.0.0.1/24", 2, "10.0.0.0/24"),
        ("2001:db8::1/64", 2, "2001:db8::/64"),
        (own4.as_str(), 1, "this host"),
        (own6.as_str(), 1, "this host"),
        ("192.0.2.0/24", 1, "this host"),
    ];
    for (address, code, reason) in refused {
        let output = site.vosctl(&["block", address]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{address}: {said}");
        assert!(said.contains(reason), "{address}: {said}");
        assert_eq!(rules(), empty, "{address} has changed the rules");
    }
    for words in [&["block", "10.0.0.1", "--ttl", "0s"][..], &["allow", "10.0.0.1/24"], &["block"]] {
        assert_eq!(site.vosctl(words).status.code(), Some(2), "{words:?}");
    }
    assert_eq!(site.vosctl(&["unblock", "10.0.0.1"]).status.code(), Some(4), "there is no such rule");
    assert_eq!(rules(), empty);
    // Nothing of it took effect, and what can be meant is taken.
    assert_eq!(site.asks(&site.phone(CALLER), "REGISTER", "still"), 200);
    site.told(&["block", "10.0.0.0/24"]);
    assert_ne!(rules(), empty);
}
