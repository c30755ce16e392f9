//! The picture, and what programs get.

use super::*;

fn hops() -> Vec<Hop> {
    vec![
        Hop::good("container", "lo", "up"),
        Hop::bad("container", "eth0", "down\n\x1b", "why ".repeat(40), "do").fix(Fix::Reload),
        Hop::note("uplink", "a name that is long enough for two", "x", "y"),
        Hop::good("port 80/tcp", "0.0.0.0:80", "answers"),
    ]
}

#[test]
fn the_picture_keeps_its_shape() {
    let text = picture(&hops(), false);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(!text.contains('\x1b') && text.contains("down??"), "{text}");
    assert!(text.starts_with("● container\n│  ✓ lo"), "{text}");
    assert!(text.contains("\n● uplink\n   · a name that is long enough for two x\n"), "{text}");
    assert!(text.ends_with("1 fault, which --fix mends\n"), "{text}");
    let coloured = picture(&hops(), true);
    assert!(coloured.contains("\x1b[1;31m✗\x1b[0m eth0"), "{coloured}");
    assert_eq!(picture(&[], false), "all well\n");
    assert!(!is_well(&hops()) && is_well(&[]));
}

#[test]
fn programs_get_all_of_it() {
    let Value::List(list) = json(&hops()) else { panic!() };
    assert_eq!(list[1].get("Fixable"), Some(&Value::Bool(true)));
    assert_eq!(list[2].get("Health"), Some(&"note".into()));
    assert_eq!(list[0].get("Place"), Some(&"container".into()));
}
