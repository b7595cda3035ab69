//! Where MySensors controllers attach, seen beside the networks: a gateway that is connected to itself, and
//! controllers that could only watch.

use std::net::IpAddr;

use wharf_contract::settings::{Entry, Node, NodeKind, Problem, Severity};

use super::controllers::DoorAddress;

/// What is wrong with `controllers` in this site, whose networks these are. `presents`: some devices are
/// shown as nodes.
pub fn problems(root: &Node, networks: &[&Entry], presents: bool) -> Vec<Problem> {
    let Some(controllers) = root.get("controllers").filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let doors = doors(&controllers.value);
    let mut problems: Vec<_> = networks.iter().filter_map(|network| own_door(network, &doors)).collect();
    if !presents && !networks.iter().any(|network| relays(network) || opens_a_point(network)) {
        problems.push(Problem {
            severity: Severity::Warning,
            span: controllers.key_span,
            path: "controllers".into(),
            message: "nothing takes what controllers send: no network relays, none has a point with `write:`, and no \
                      device is shown as a node"
                .into(),
            help: Some("where they run a network, write controller: upstream at its link".into()),
        });
    }
    problems
}

fn relays(network: &Entry) -> bool {
    network.value.get("controller").and_then(|entry| entry.value.text()) == Some("upstream")
}

fn opens_a_point(network: &Entry) -> bool {
    let devices = network.value.get("devices").map_or(&[][..], |devices| devices.value.entries());
    let mut points =
        devices.iter().filter_map(|device| device.value.get("points")).flat_map(|points| points.value.entries());
    points.any(|point| point.value.get("write").is_some())
}

fn doors(controllers: &Node) -> Vec<DoorAddress> {
    match controllers.get("listen") {
        Some(Entry { value: Node { kind: NodeKind::Sequence(listen), .. }, .. }) => {
            listen.iter().filter_map(|address| DoorAddress::parse(address.text()?)).collect()
        }
        _ => vec![DoorAddress::DEFAULT],
    }
}

/// Every message would come back as a new one, without end.
fn own_door(network: &Entry, doors: &[DoorAddress]) -> Option<Problem> {
    let tcp = network.value.get("tcp")?;
    let address = DoorAddress::parse(&tcp.value.text()?.replace("localhost", "127.0.0.1"))?.0;
    let is_it = |own: IpAddr| own == address.ip() || (own.is_unspecified() && address.ip().is_loopback());
    let door = doors.iter().find(|door| door.0.port() == address.port() && is_it(door.0.ip()))?;
    Some(Problem {
        severity: Severity::Mistake,
        span: tcp.value.span,
        path: format!("{}.{}.tcp", wharf_mysensors::KIND, network.key),
        message: format!("at {} this gateway itself listens, for controllers: it would hear its own messages", door.0),
        help: Some("give `controllers` another port: listen: [127.0.0.1:5004]".into()),
    })
}
