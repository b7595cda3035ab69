//! MySensors controllers in a status: who is attached, and what the nodes made for them are like.

use serde_json::Value as Json;

use super::number;

/// The controllers at the doors, if there are doors.
pub fn at_doors(status: &Json) -> Option<String> {
    let doors = status["controllers"].as_object()?;
    let [attached, lines_in, lines_out] = ["attached", "lines_in", "lines_out"].map(|key| number(&doors[key]));
    let troubles = [("not_taken", "lines not taken"), ("dropped", "dropped"), ("refused", "sent away")];
    Some(format!(
        "controllers: {attached} attached; {lines_in} lines in, {lines_out} out{}",
        those_there_are(&status["controllers"], troubles)
    ))
}

/// The virtual nodes, if devices are shown as such.
pub fn virtual_nodes(status: &Json) -> Option<String> {
    let nodes = &status["virtual_nodes"];
    let count = number(nodes.get("nodes")?);
    let troubles = [("missed", "readings missed"), ("clashes", "messages of nodes with the same number")];
    Some(format!("virtual nodes: {count}{}", those_there_are(nodes, troubles)))
}

/// `; 3 dropped, 1 sent away`: the counts that are not 0.
fn those_there_are<const N: usize>(counts: &Json, names: [(&str, &str); N]) -> String {
    let there = names.into_iter().filter(|(key, _)| counts[*key].as_u64().is_some_and(|count| count > 0));
    let words: Vec<String> = there.map(|(key, words)| format!("{} {words}", number(&counts[key]))).collect();
    if words.is_empty() { String::new() } else { format!("; {}", words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_controllers_it_is_said_how_many_are_attached_and_what_went_wrong_if_anything_did() {
        let mut status = json!({
            "controllers": { "attached": 2, "lines_in": 17, "lines_out": 12_345, "not_taken": 0, "dropped": 1, "refused": 3 },
            "virtual_nodes": { "nodes": 4, "missed": 0, "clashes": 0 },
        });
        let said = "controllers: 2 attached; 17 lines in, 12,345 out; 1 dropped, 3 sent away";
        assert_eq!(at_doors(&status).unwrap(), said);
        assert_eq!(virtual_nodes(&status).unwrap(), "virtual nodes: 4");
        status["virtual_nodes"]["clashes"] = 9.into();
        assert_eq!(virtual_nodes(&status).unwrap(), "virtual nodes: 4; 9 messages of nodes with the same number");
        let neither = json!({ "controllers": null, "virtual_nodes": null });
        assert_eq!((at_doors(&neither), virtual_nodes(&neither)), (None, None));
    }
}
