//! A client of somebody else: `mqttsn` 0.0.4 from PyPI, Eclipse's own in Python. `tests/lab/python.sh
//! mqttsn` makes the Python it needs.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;
use wharf_test_support::lab::python;

use crate::lab::{Gateway, Mosquitto, PATIENCE};

#[tokio::test]
async fn the_client_from_pypi_subscribes_publishes_and_hears_itself() {
    let Some(python) = python("mqttsn") else { return };
    let broker = Mosquitto::start().await;
    for aggregate in [false, true] {
        let gateway = Gateway::start(&broker, json!({ "aggregate": aggregate })).await;
        let mut watcher = broker.listen("#").await;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/public.py");
        let running = Command::new(&python)
            .args([script, &gateway.address.port().to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ended = timeout(PATIENCE, running).await.expect("it ends").unwrap();
        let (said, wrong) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success(), "{said}\n{wrong}");
        for (qos, topic) in ["py", "python/topic", "python/topic"].into_iter().enumerate() {
            assert_eq!(watcher.next().await, format!("{topic} {qos} 0 qos{qos}"), "{said}\n{wrong}");
            assert!(said.contains(&format!("heard {qos} qos{qos}")), "{said}\n{wrong}");
        }
        gateway.stop().await;
    }
}
