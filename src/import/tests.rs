use super::*;

fn points(text: &str) -> Vec<String> {
    let import = import(text, Assumptions::default()).unwrap();
    assert_eq!(import.unread, []);
    import.points
}

/// A map with a single row of these cells comes to this point.
fn check(headings: &str, cells: &str, expected: &str) {
    assert_eq!(points(&format!("{headings}\n{cells}\n")), [expected], "{headings}\n{cells}");
}

/// Why the single row of a map was not understood.
fn refused(headings: &str, cells: &str) -> String {
    let import = import(&format!("{headings}\n{cells}\n"), Assumptions::default()).unwrap();
    assert_eq!((import.points.len(), import.unread.len()), (0, 1), "{import:?}");
    assert_eq!(import.unread[0].0, 2);
    import.unread[0].1.clone()
}

#[test]
fn columns_are_found_by_their_headings_in_any_order() {
    let expected = "voltage_l1: { input: 0x0000, type: f32, unit: V }";
    check("name,address,type,unit", "Voltage L1,30001,float,V", expected);
    check("Unit;Data Type;Register;Parameter", "V;FLOAT32;30001;Voltage L1", expected);
    check("\u{feff}Modbus address (dec)\tTag name\tFormat\tUnits", "30001\tVoltage L1\tIEEE754\tV", expected);
    check("FC,Start Address,Description,Encoding,Eng. Unit", "4,0x0000,Voltage L1,real,V", expected);
}

#[test]
fn what_stands_before_the_headings_is_passed_over() {
    let text = "Meter 9000;;\nModbus map, version 2;;\n;;\nName;Address;Type\nPower;40013;INT32\n\n";
    assert_eq!(points(text), ["power: { holding: 0x000C, type: i32 }"]);
}

#[test]
fn an_address_says_its_table_by_its_first_digit() {
    let place = |address, table, one_based| words::place(address, table, one_based).map(|p| (p.table, p.address));
    assert_eq!(place("00017", None, false), Ok((Table::Coil, 16)));
    assert_eq!(place("10001", None, false), Ok((Table::Discrete, 0)));
    assert_eq!(place("39999", None, false), Ok((Table::Input, 9_998)));
    assert_eq!(place("400001", None, false), Ok((Table::Holding, 0)));
    assert_eq!(place("465536", None, false), Ok((Table::Holding, 65_535)));
    assert!(place("465537", None, false).unwrap_err().contains("beyond"));
    // A table that is said and a digit that means another: the number is the address.
    assert_eq!(place("30775", Some(Table::Holding), false), Ok((Table::Holding, 30_775)));
    assert_eq!(place("1F40h", Some(Table::Input), true), Ok((Table::Input, 0x1F40)));
    assert_eq!(place("13", Some(Table::Input), true), Ok((Table::Input, 12)));
    assert_eq!(place("40001-40002", None, false), Ok((Table::Holding, 0)));
    assert!(place("13", None, false).unwrap_err().contains("--table"));
    assert!(place("0", Some(Table::Coil), true).is_err());
    assert!(place("abc", Some(Table::Coil), false).is_err());
}

#[test]
fn types_have_many_names() {
    for (text, length, expected) in [
        ("UINT16", None, "u16"),
        ("Int", Some("2"), "i32"),
        ("unsigned integer", Some("4"), "u64"),
        ("S16", None, "i16"),
        ("dword", None, "u32"),
        ("LREAL", None, "f64"),
        ("float64", None, "f64"),
        ("Float", Some("2"), "f32"),
        ("32-bit float", None, "f32"),
        ("BCD", Some("2"), "bcd32"),
        ("acc32", None, "u32"),
    ] {
        assert_eq!(words::kind(text, length), Ok(words::Kind::Number(expected)), "{text}");
    }
    assert_eq!(words::kind("string", Some("8")), Ok(words::Kind::Text { registers: 8 }));
    assert_eq!(words::kind("STR32", None), Ok(words::Kind::Text { registers: 16 }));
    assert!(words::kind("string", None).is_err());
    assert!(words::kind("colour", None).is_err());
    assert!(words::kind("int24", None).is_err());
}

#[test]
fn factors_are_written_in_many_ways() {
    for text in ["0.1", "x0.1", "1/10", "/10", "10^-1", "0,1", "× 0.1"] {
        assert_eq!(words::factor(text), Ok(0.1), "{text}");
    }
    assert!(words::factor("0").is_err());
    assert!(words::factor("/0").is_err());
    check("name,address,type,divisor", "t,30002,int16,10", "t: { input: 0x0001, type: i16, scale: 0.1 }");
    check("name;address;type;scale", "t;30002;int16;0,01", "t: { input: 0x0001, type: i16, scale: 0.01 }");
    check("name,address,type,scale", "t,30002,int16,1", "t: { input: 0x0001, type: i16 }");
}

#[test]
fn coils_texts_orders_and_units_come_through() {
    check("name,address,type", "Pump,00003,bit", "pump: { coil: 0x0002 }");
    check(
        "name,address,type,length",
        "Serial No.,40101,ascii,8",
        "serial_no: { holding: 0x0064, type: string, length: 8 }",
    );
    check("name,address,type,word order", "E,40001,uint32,LSW first", "e: { holding: 0x0000, type: u32, order: CDAB }");
    check("name,address,unit", "Load,40001,%", "load: { holding: 0x0000, unit: \"%\" }");
    check("name,address,unit", "T,40001,°C", "t: { holding: 0x0000, unit: °C }");
}

#[test]
fn names_become_fit_for_topics_and_unique() {
    let text = "name,address\nActive power / total (kW),40001\nactive power total kW,40002\n";
    assert_eq!(
        points(text),
        ["active_power_total_kw: { holding: 0x0000 }", "active_power_total_kw_2: { holding: 0x0001 }"]
    );
}

#[test]
fn a_line_that_is_not_understood_is_named_with_its_number_and_costs_no_other() {
    let text = "name,address,type\nA,40001,u16\n\nB,forty,u16\nC,40003,colour\n,40004,u16\nD,,u16\nE,40005,u16\n";
    let import = import(text, Assumptions::default()).unwrap();
    assert_eq!(import.points, ["a: { holding: 0x0000, type: u16 }", "e: { holding: 0x0004, type: u16 }"]);
    let lines: Vec<_> = import.unread.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 5, 6, 7]);
}

#[test]
fn what_the_decoder_would_refuse_is_not_printed() {
    assert!(refused("name,address,type", "P,00001,float").contains("one bit"));
    assert!(refused("name,address,type", "P,465536,u32").contains("beyond"));
    assert!(refused("name,address,access", "P,40001,WO").contains("only be written"));
}

#[test]
fn a_map_without_headings_is_refused_as_a_whole() {
    assert!(import("Voltage,30001,float\n", Assumptions::default()).unwrap_err().contains("headings"));
    assert!(import("", Assumptions::default()).is_err());
}

#[test]
fn no_map_makes_it_panic() {
    let pieces =
        ["name", "address", "\"", ",", ";", "\n", "4", "40001", "0x", "h", "/", "10^", "x", "é", "string", "\u{feff}"];
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..5_000 {
        let text: String = (0..random.usize(..40)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        let _ = import(&format!("name,address,type,scale\n{text}"), Assumptions::default());
        let _ = import(&text, Assumptions { table: Some(Table::Coil), one_based: true });
    }
}
