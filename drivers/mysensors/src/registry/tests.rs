use std::time::UNIX_EPOCH;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn heard(lines: &[&str]) -> Registry {
    let mut registry = Registry::new("garden", NameSource::Presentation);
    for line in lines {
        registry.hear(&Message::parse(line.as_bytes()).unwrap(), at(100));
    }
    registry
}

const SOIL: &[&str] = &[
    "2;255;0;0;18;2.3.2",
    "2;255;3;0;6;0",
    "2;255;3;0;11;Soil",
    "2;255;3;0;12;1.1",
    "2;1;0;0;35;Bed",
    "2;255;3;0;0;87",
    "2;255;3;0;21;7",
    "2;1;1;0;37;80",
    "2;255;3;0;32;500",
];

#[test]
fn a_node_is_known_by_what_it_said() {
    let registry = heard(SOIL);
    let node = registry.node(2).unwrap();
    assert_eq!((node.library.as_deref(), node.repeater), (Some("2.3.2"), true));
    assert_eq!((node.sketch.as_deref(), node.sketch_version.as_deref()), (Some("Soil"), Some("1.1")));
    assert_eq!((node.battery, node.parent, node.sleeps), (Some(87), Some(7), true));
    assert_eq!(registry.child(2, 1).unwrap().sensor, Some(35));
    assert_eq!(registry.value(2, 1, 37), Some("80"));
    assert_eq!(registry.version(2), Some(Version { major: 2, minor: 3 }));
    assert!(registry.is_presented(2) && registry.is_child_presented(2, 1) && !registry.is_child_presented(2, 2));
}

#[test]
fn what_makes_no_sense_leaves_what_was_known() {
    let registry =
        heard(&["2;255;3;0;0;87", "2;255;3;0;0;300", "2;255;3;0;21;7", "2;255;3;0;21;far", "255;255;3;0;3;"]);
    assert_eq!(registry.node(2).map(|node| (node.battery, node.parent)), Some((Some(87), Some(7))));
    assert_eq!(registry.nodes().count(), 1, "255 is nobody");
}

#[test]
fn a_node_found_asleep_without_having_said_so_is_remembered_as_one_that_sleeps() {
    let mut registry = heard(&["2;255;0;0;17;2.1.1", "2;255;3;0;22;1234"]);
    assert!(!registry.sleeps(2), "it may have been asked for its heartbeat");
    let before = registry.revision();
    assert_eq!((registry.found_asleep(2), registry.found_asleep(2)), (Change::Soon, Change::Whenever));
    assert!(registry.sleeps(2) && registry.revision() == before + 1);
    assert_eq!(registry.found_asleep(9), Change::Whenever);
    assert_eq!(registry.nodes().count(), 1);
}

#[test]
fn the_lowest_free_number_is_given_and_none_that_the_site_file_names() {
    let mut registry = Registry::new("garden", NameSource::Numbers).declaring([(2, BTreeSet::new())]);
    registry.hear(&Message::parse(b"4;1;1;0;0;21").unwrap(), at(1));
    let given: Vec<_> = (0..3).map(|_| registry.give_number(at(1))).collect();
    assert_eq!(given, [Some(1), Some(3), Some(5)]);
    while registry.give_number(at(1)).is_some() {}
    assert_eq!(registry.nodes().count(), 253, "all but node 2");
}

#[test]
fn when_all_are_given_the_one_goes_that_was_never_used_for_a_day() {
    let mut registry = Registry::new("garden", NameSource::Numbers);
    while registry.give_number(at(1)).is_some() {}
    registry.hear(&Message::parse(b"1;1;1;0;0;21").unwrap(), at(2));
    assert_eq!(registry.give_number(at(86_400)), None);
    assert_eq!(registry.give_number(at(86_402)), Some(2));
}

#[test]
fn what_was_known_is_known_after_a_restart() {
    let mut before = heard(SOIL);
    before.give_number(at(7));
    before.wrote(2, 1, 2, "1");
    let mut after = Registry::new("garden", NameSource::Presentation);
    after.recall(&before.to_file()).unwrap();
    assert_eq!(after.nodes, before.nodes);
    assert_eq!(after.device_name(2), Some("garden-soil"));
}

#[test]
fn a_damaged_file_is_said_and_remembered_until_somebody_accepts_it() {
    let mut registry = Registry::new("garden", NameSource::Numbers);
    registry.recall("").unwrap();
    assert!(!registry.is_incomplete());
    for damaged in ["{\"nodes\":", "nonsense", "[]"] {
        assert_eq!(registry.recall(damaged), Err(file::Damaged));
    }
    let mut again = Registry::new("garden", NameSource::Numbers);
    again.recall(&registry.to_file()).unwrap();
    assert!(again.is_incomplete());
    again.accept();
    assert!(!again.is_incomplete());
}

#[test]
fn no_network_makes_it_grow_without_bound() {
    let mut registry = Registry::new("garden", NameSource::Presentation);
    for node in 0..=20 {
        for child in 0..=254 {
            for kind in 0..3 {
                let set = format!("{node};{child};1;0;{kind};{}", "x".repeat(200));
                registry.hear(&Message::parse(set.as_bytes()).unwrap(), at(1));
            }
        }
    }
    let children = || registry.nodes.values().flat_map(|node| node.children.values());
    let values: usize = children().map(|child| child.values.len()).sum();
    assert_eq!((children().count() <= MOST_CHILDREN, values), (true, MOST_VALUES));
    assert!(children().all(|child| child.values.values().all(|payload| payload.len() == LONGEST_TEXT)));
    assert_eq!(registry.unremembered(), 21 * 255 * 3 - MOST_VALUES as u64);
    assert!((registry.to_file().len() as u64) < store::LARGEST);
}

#[test]
fn versions_are_read_as_far_as_they_matter() {
    let check = |text: &str, expected: Option<(u16, u16)>| {
        assert_eq!(Version::parse(text).map(|version| (version.major, version.minor)), expected, "{text}");
    };
    check("2.3.2", Some((2, 3)));
    check("2.4.0-alpha", Some((2, 4)));
    check("1.5", Some((1, 5)));
    check(" 2.2-rc1 ", Some((2, 2)));
    check("2", None);
    check("next", None);
    check("", None);
}

#[test]
fn what_is_written_to_everybody_makes_no_node_of_everybody() {
    let mut registry = Registry::new("garden", NameSource::Numbers);
    for node in [255, 9] {
        registry.wrote(node, 1, 2, "1");
    }
    assert_eq!(registry.nodes().map(|(number, _)| number).collect::<Vec<_>>(), [9], "it may be asleep since long");
    assert_eq!(registry.value(9, 1, 2), Some("1"));
}

#[test]
fn what_the_site_file_says_of_sleep_counts_as_long_as_it_says_so_and_is_not_remembered() {
    let awake = heard(&["2;255;0;0;17;2.3.2"]);
    let asleep = heard(SOIL);
    for (heard, told) in [(awake, true), (asleep, false)] {
        let found = heard.sleeps(2);
        let text = heard.to_file();
        let mut registry = Registry::new("garden", NameSource::Numbers).telling([(2, told)]);
        registry.recall(&text).unwrap();
        assert_eq!((registry.sleeps(2), registry.shown(|_| String::new(), |_| 0)[0]["sleeping"] == true), (told, told));
        let mut untold = Registry::new("garden", NameSource::Numbers);
        untold.recall(&registry.to_file()).unwrap();
        assert_eq!(untold.sleeps(2), found);
    }
}

/// A registry of the same network after a start with this site file.
fn restarted(before: &Registry, stated: &[(u8, &str)], shown: &[(u8, Option<&str>)]) -> Registry {
    let own = stated.iter().map(|(number, name)| (*number, (*name).to_owned()));
    let declared = stated.iter().map(|(number, _)| (*number, BTreeSet::new()));
    let mut after = Registry::new("garden", NameSource::Presentation).declaring(declared).stating(own);
    after.spare(shown.iter().map(|(number, device)| (*number, device.map(str::to_owned))));
    after.recall(&before.to_file()).unwrap();
    after
}

#[test]
fn a_number_that_the_site_file_states_is_never_given_whoever_it_is_for() {
    let mut registry = restarted(&heard(&[]), &[(1, "soil")], &[(2, None), (4, Some("tank"))]);
    let given: Vec<_> = (0..250).map(|_| registry.give_number(at(100)).unwrap()).collect();
    assert_eq!(given[..3], [3, 5, 6]);
    assert!(given.iter().all(|number| ![1, 2, 4].contains(number)));
    // All are in use: one that was given and never taken goes, but none that is stated since.
    let mut registry = restarted(&registry, &[(1, "soil"), (3, "bed")], &[(2, None), (5, Some("tank"))]);
    while registry.give_number(at(100)).is_some() {}
    assert_eq!(registry.give_number(at(100_000)), Some(4));
}

#[test]
fn a_stated_number_that_a_node_was_given_before_is_said_with_its_names_and_what_to_do() {
    let mut registry = heard(&[]);
    for _ in 0..3 {
        registry.give_number(at(50));
    }
    for line in ["1;255;3;0;11;Bed", "2;255;3;0;11;Soil", "9;255;3;0;11;Pump"] {
        registry.hear(&Message::parse(line.as_bytes()).unwrap(), at(100));
    }
    let shown = [(1, Some("tank")), (3, Some("fridge")), (7, Some("attic"))];
    let mut after = restarted(&registry, &[(2, "valve"), (9, "pump"), (12, "new")], &shown);
    let (doubts, change) = after.compare_with_the_site();
    assert_eq!((doubts.len(), change), (3, Change::Soon), "{doubts:?}");
    assert!(
        doubts[0].starts_with("node 1 (`Bed`) has the number under which the site file shows `tank`"),
        "{doubts:?}"
    );
    assert!(doubts[0].ends_with("give `tank` another `node:`, or the node another number"), "{doubts:?}");
    assert!(doubts[1].starts_with("node 3 (never heard yet) has the number"), "{doubts:?}");
    assert!(doubts[2].starts_with("node 2 (`Soil`) got its number from this gateway, and is `valve`"), "{doubts:?}");
    assert_eq!(after.clash().as_ref(), Some(&doubts[0]));

    // Of what can go on for good it is said at every start; a node that was named since is no doubt again.
    let mut again = restarted(&after, &[(2, "valve"), (9, "pump"), (12, "new")], &shown[1..]);
    let (doubts, change) = again.compare_with_the_site();
    assert_eq!((doubts.len(), change), (1, Change::Whenever), "{doubts:?}");
    let mut renamed = restarted(&again, &[(2, "other")], &[]);
    assert_eq!((renamed.compare_with_the_site().0.len(), renamed.clash()), (1, None));
}
