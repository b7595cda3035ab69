//! The queue against a `VecDeque`: the same operations, the same records.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    /// Read some, and acknowledge those at these places of what was read, in this order.
    Acknowledge(usize, Vec<prop::sample::Index>),
    AcknowledgeAll(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u64..300).prop_map(Step::Append),
        3 => (1usize..80, prop::collection::vec(any::<prop::sample::Index>(), 0..40))
            .prop_map(|(read, acks)| Step::Acknowledge(read, acks)),
        2 => (1usize..300).prop_map(Step::AcknowledgeAll),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..30)
}

async fn obey(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut queue = Queue::open(settings(dir.path())).unwrap();
    let mut model: VecDeque<u64> = VecDeque::new();
    let mut appended = 0;
    for step in steps {
        match step {
            Step::Append(count) => {
                append(&queue, appended..appended + count).await;
                model.extend(appended..appended + count);
                appended += count;
                committed(&queue, appended).await;
            }
            Step::Acknowledge(read, places) if !model.is_empty() => {
                let records = queue.read(Seq::FIRST, Seq::END, read, 1 << 20).await.unwrap();
                let expected: Vec<u64> = model.iter().copied().take(records.len()).collect();
                assert_eq!(numbers(&records), expected);
                for place in places {
                    let record = &records[place.index(records.len())];
                    queue.acknowledge(record.seq);
                    model.retain(|n| Some(*n) != number(record));
                }
            }
            Step::AcknowledgeAll(read) if !model.is_empty() => {
                for record in queue.read(Seq::FIRST, Seq::END, read, 1 << 20).await.unwrap() {
                    queue.acknowledge(record.seq);
                    assert_eq!(model.pop_front(), number(&record));
                }
            }
            Step::Acknowledge(..) | Step::AcknowledgeAll(_) => {}
            Step::Reopen => {
                queue.close().await.unwrap();
                queue = Queue::open(settings(dir.path())).unwrap();
                assert_eq!(queue.end(), Seq(appended));
            }
        }
        let counters = queue.counters();
        assert_eq!(counters.queued, model.len() as u64);
        assert_eq!(counters.dropped, Dropped::default());
        assert_balanced(&counters);
    }
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&queue).await), Vec::from(model));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_like_a_plain_deque(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(obey(steps));
    }
}
