//! The simulated Modbus TCP link: the plant on a socket.
//!
//! The frames are the business of the Modbus crate's own server, so what the driver talks to is not
//! made by the driver's authors. This file adds what the server leaves out: a bound on clients, and
//! an end that is waited for.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_modbus::server::{Service, tcp::Server};
use tokio_modbus::{ExceptionCode, Response, SlaveRequest};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::plant::Plant;

/// How many clients may be connected; one more is turned away.
const CLIENTS: u32 = 8;
/// How long the server rests after the system would not give it the next connection.
const REST: Duration = Duration::from_secs(1);
/// How long stopping waits for connections to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The running link. Dropping it stops it too, without waiting for the end.
#[derive(Debug)]
pub struct Meter {
    address: SocketAddr,
    clients: Arc<Semaphore>,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Meter {
    /// Listens on this address; port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// An address that is taken or is not this machine's.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let clients = Arc::new(Semaphore::new(CLIENTS as usize));
        let task = tokio::spawn(serve(listener, Arc::clone(&clients), stop.clone()));
        Ok(Self { address, clients, stop: stop.drop_guard(), task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, closes every connection and waits until they are gone.
    pub async fn stop(self) {
        drop(self.stop);
        // Every connection holds a permit to its end, so all permits back means all are gone.
        let gone = async {
            let _ = self.task.await;
            let _ = self.clients.acquire_many(CLIENTS).await;
        };
        if timeout(PATIENCE, gone).await.is_err() {
            warn!(address = %self.address, "simulated modbus connections did not end in time");
        }
    }
}

async fn serve(listener: TcpListener, clients: Arc<Semaphore>, stop: CancellationToken) {
    let plant = Arc::new(Mutex::new(Plant::default()));
    let begin = Instant::now();
    let server = Server::new(listener);
    let connected = |stream: TcpStream, peer: SocketAddr| {
        let accepted = accept(&clients, &plant, begin, stream, peer);
        ready(Ok(accepted))
    };
    let failed = |error: io::Error| debug!(%error, "simulated modbus connection ended");
    loop {
        tokio::select! {
            // Dropping the server's future ends the connections it has accepted.
            () = stop.cancelled() => return,
            ended = server.serve(&connected, failed) => {
                if let Err(error) = ended {
                    warn!(%error, "the simulated modbus link cannot accept a connection");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(REST) => {}
        }
    }
}

fn accept(
    clients: &Arc<Semaphore>,
    plant: &Arc<Mutex<Plant>>,
    begin: Instant,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Connection, TcpStream)> {
    let Ok(permit) = Arc::clone(clients).try_acquire_owned() else {
        debug!(%peer, "simulated modbus link has too many clients");
        return None;
    };
    // Small answers have to leave at once; where that cannot be asked for they leave a little later.
    let _ = stream.set_nodelay(true);
    Some((Connection { plant: Arc::clone(plant), begin, _permit: permit }, stream))
}

/// One client's view of the plant.
struct Connection {
    plant: Arc<Mutex<Plant>>,
    begin: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Service for Connection {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        // A plant is whole between any two of its steps, so it is used on even after a panic.
        let mut plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        ready(plant.answer(request.slave, &request.request, self.begin.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use tokio_modbus::client::{Context, Reader, Writer, tcp};
    use tokio_modbus::slave::{Slave, SlaveContext};

    use super::super::plant::{BOILER, METER};
    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn connect(meter: &Meter, unit: u8) -> Context {
        tcp::connect_slave(meter.address(), Slave(unit)).await.unwrap()
    }

    #[tokio::test]
    async fn a_modbus_client_reads_both_devices_over_one_socket() {
        let meter = Meter::start(LOOPBACK).unwrap();
        let mut client = connect(&meter, METER).await;
        let words = client.read_input_registers(0, 10).await.unwrap().unwrap();
        let voltage = f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1]));
        assert!((220.0..240.0).contains(&voltage), "{voltage}");
        client.set_slave(Slave(BOILER));
        assert_eq!(client.read_coils(0, 1).await.unwrap().unwrap(), [false]);
        meter.stop().await;
    }

    #[tokio::test]
    async fn what_one_client_writes_another_reads() {
        let meter = Meter::start(LOOPBACK).unwrap();
        let (mut writer, mut reader) = (connect(&meter, BOILER).await, connect(&meter, BOILER).await);
        writer.write_single_register(10, 655).await.unwrap().unwrap();
        writer.write_multiple_coils(0, &[true]).await.unwrap().unwrap();
        assert_eq!(reader.read_holding_registers(10, 1).await.unwrap().unwrap(), [655]);
        assert_eq!(reader.read_coils(0, 1).await.unwrap().unwrap(), [true]);
        meter.stop().await;
    }

    #[tokio::test]
    async fn an_unknown_address_is_an_exception_and_the_connection_goes_on() {
        let meter = Meter::start(LOOPBACK).unwrap();
        let mut client = connect(&meter, METER).await;
        let refused = client.read_holding_registers(500, 1).await.unwrap();
        assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress));
        client.read_holding_registers(100, 8).await.unwrap().unwrap();
        meter.stop().await;
    }

    #[tokio::test]
    async fn one_client_too_many_is_turned_away_and_the_others_are_served() {
        let meter = Meter::start(LOOPBACK).unwrap();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = connect(&meter, METER).await;
            client.read_input_registers(0, 1).await.unwrap().unwrap();
            clients.push(client);
        }
        let mut late = connect(&meter, METER).await;
        assert!(late.read_input_registers(0, 1).await.is_err());
        clients[0].read_input_registers(0, 1).await.unwrap().unwrap();
        meter.stop().await;
    }

    #[tokio::test]
    async fn stopping_closes_connections_and_frees_the_port() {
        let meter = Meter::start(LOOPBACK).unwrap();
        let address = meter.address();
        let mut client = connect(&meter, METER).await;
        client.read_input_registers(0, 1).await.unwrap().unwrap();
        meter.stop().await;
        let answer = timeout(Duration::from_secs(10), client.read_input_registers(0, 1)).await.unwrap();
        assert!(answer.is_err(), "{answer:?}");
        Meter::start(address).unwrap().stop().await;
    }
}
