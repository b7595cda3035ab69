//! Appending, reading, acknowledging, closing.

use super::*;
use crate::clock::pretend::Pretend;
use crate::clock::time;

#[tokio::test]
async fn records_come_back_in_order_with_their_times() {
    let dir = tempfile::tempdir().unwrap();
    let hands = Pretend::booted(1, 1_795_219_869_123);
    let queue = Queue::open(Settings { clock: hands.clock(), ..settings(dir.path()) }).unwrap();
    for n in 0..3 {
        queue.append(body(n)).await.unwrap();
        hands.pass(1000);
    }
    committed(&queue, 3).await;
    let records = queue.read(Seq::FIRST, Seq::END, 10, 1 << 20).await.unwrap();
    assert_eq!(numbers(&records), [0, 1, 2]);
    assert_eq!(records[2].captured_at, time(1_795_219_871_123));
    assert_eq!(queue.read(Seq(1), Seq::END, 1, 1 << 20).await.unwrap()[0].seq, Seq(1));
    assert_eq!(queue.read(Seq(0), Seq::END, 10, 1).await.unwrap().len(), 1, "the first record comes whatever its size");
    assert_eq!(queue.read(Seq(0), Seq::END, 10, 2 * body(0).len()).await.unwrap().len(), 2);
    assert_eq!(queue.read(Seq(0), Seq::END, usize::MAX, usize::MAX).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_reader_waits_for_the_commit_and_not_longer() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let reader = tokio::spawn({
        let queue = queue.clone();
        async move { queue.read(Seq::FIRST, Seq::END, 10, 1 << 20).await }
    });
    tokio::task::yield_now().await;
    append(&queue, 0..1).await;
    let records = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap().unwrap();
    assert_eq!(numbers(&records), [0]);
}

#[tokio::test]
async fn acknowledged_records_are_not_read_again_even_after_a_restart() {
    let dir = filled(1000).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    for seq in (0..400).chain(700..900) {
        queue.acknowledge(Seq(seq));
    }
    queue.acknowledge(Seq(5));
    queue.acknowledge(Seq(1_000_000));
    assert_eq!(queue.counters().acknowledged, 600);
    queue.close().await.unwrap();

    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(queue.oldest_unacknowledged(), Seq(400));
    assert_eq!(queue.counters().queued, 400);
    let expected: Vec<u64> = (400..700).chain(900..1000).collect();
    assert_eq!(numbers(&drain(&queue).await), expected);
}

#[tokio::test]
async fn sequence_numbers_go_on_after_everything_was_acknowledged_and_freed() {
    let dir = filled(3000).await;
    for round in 1..4 {
        let queue = Queue::open(settings(dir.path())).unwrap();
        let end = queue.end();
        assert_eq!(end, Seq(2999 + round));
        (0..end.get()).for_each(|seq| queue.acknowledge(Seq(seq)));
        until(|| segments(dir.path()).len() == 1).await;
        append(&queue, 0..1).await;
        let record = queue.read(Seq::FIRST, Seq::END, 1, 1000).await.unwrap();
        assert_eq!(record[0].seq, end);
        queue.close().await.unwrap();
    }
}

#[tokio::test]
async fn acknowledging_alone_reaches_the_disk() {
    let dir = filled(500).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    (0..500).for_each(|seq| queue.acknowledge(Seq(seq)));
    let start = std::time::Instant::now();
    loop {
        // As after a kill: nothing but what is on disk.
        let copy = quick_dir();
        copy_files(dir.path(), copy.path());
        let found = Queue::open(settings(copy.path())).unwrap();
        if found.oldest_unacknowledged() == Seq(500) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "it did not happen in time");
    }
}

#[tokio::test]
async fn live_and_backlog_are_read_side_by_side() {
    let dir = filled(5000).await;
    let queue = Queue::open(settings(dir.path())).unwrap();
    let live = queue.end();
    append(&queue, 5000..5100).await;
    committed(&queue, 5100).await;
    let (mut old, mut new) = (Seq::FIRST, live);
    for _ in 0..10 {
        let backlog = queue.read(old, Seq::END, 20, 1 << 20).await.unwrap();
        let fresh = queue.read(new, Seq::END, 10, 1 << 20).await.unwrap();
        old = backlog.last().unwrap().seq.next();
        new = fresh.last().unwrap().seq.next();
        backlog.iter().chain(&fresh).for_each(|record| queue.acknowledge(record.seq));
    }
    assert_eq!(queue.oldest_unacknowledged(), old);
    assert_eq!(new, Seq(5100));
    assert_balanced(&queue.counters());
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert_eq!(numbers(&drain(&queue).await), (old.get()..5000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_queue_says_so_to_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let reader = tokio::spawn({
        let queue = queue.clone();
        async move { queue.read(Seq::FIRST, Seq::END, 1, 1).await }
    });
    let listener = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next_losses().await }
    });
    tokio::task::yield_now().await;
    queue.close().await.unwrap();
    queue.close().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap(), Err(Closed));
    assert_eq!(tokio::time::timeout(PATIENCE, listener).await.unwrap().unwrap(), []);
    assert_eq!(queue.append(body(0)).await, Err(Closed));
    assert_eq!(queue.read(Seq::FIRST, Seq::END, 1, 1).await, Err(Closed));
}

#[tokio::test]
async fn one_directory_is_one_queue_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    assert!(matches!(Queue::open(settings(dir.path())), Err(OpenError::Locked { .. })));
    queue.close().await.unwrap();
    Queue::open(settings(dir.path())).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let Err(error) = Queue::open(settings(dir.path().join("file/queue"))) else { panic!("it opened") };
    assert!(error.to_string().contains("file/queue"), "{error}");
}

#[tokio::test]
async fn many_appends_wait_for_room_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Settings { commit_interval: Duration::from_secs(3600), ..settings(dir.path()) };
    let queue = Queue::open(slow).unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let queue = queue.clone();
            tokio::spawn(async move { append(&queue, task * 1000..(task + 1) * 1000).await })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    queue.close().await.unwrap();
    let queue = Queue::open(settings(dir.path())).unwrap();
    let mut found = numbers(&drain(&queue).await);
    found.sort_unstable();
    assert_eq!(found, (0..8000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_add_up_at_every_moment() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(Settings { max_size: 6 * MIN_SEGMENT, ..settings(dir.path()) }).unwrap();
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move { append(&queue, 0..20_000).await }
    });
    let consumer = tokio::spawn({
        let queue = queue.clone();
        async move {
            while let Ok(records) = queue.read(queue.oldest_unacknowledged(), Seq::END, 50, 1 << 20).await {
                records.iter().step_by(3).for_each(|record| queue.acknowledge(record.seq));
            }
        }
    });
    while !producer.is_finished() {
        assert_balanced(&queue.counters());
        tokio::task::yield_now().await;
    }
    producer.await.unwrap();
    queue.close().await.unwrap();
    consumer.await.unwrap();
    assert_eq!(queue.counters().captured, 20_000);
    assert_balanced(&queue.counters());
}
